"""The garbage collector of a process that runs for years and holds a crowd."""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 10, 10)
"""Python's own search a crowd of waiting requests over and over, which costs more than all decisions about
it. Much higher ones never look at what is old, and asyncio leaves a cycle for each connection, so that memory
would grow with every caller that hangs up.
"""


def collect_garbage() -> None:
    """From now on, but never search what is there already: all of it stays."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
