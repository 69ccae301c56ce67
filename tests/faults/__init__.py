"""What goes wrong around the sidecar, one fault a test, over real sockets.

A test's name is the fault (`test_reset_before_the_head`), its docstring the right behaviour, and the first
line of its module the heading: `python -m tests.faults` prints a table of them, kept in `deploy/faults.md`.
"""
