"""Everything that decides, and nothing that does.

No await, no clock, no I/O, no logging: `now` and `random` are arguments, expected failures are values, and
the only imports are this package and the standard library. What does I/O asks here and decides nothing
itself.
"""
