"""Time that a test drives: an event loop without sockets whose clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class JumpingSelector(selectors.SelectSelector):
    """Never waits: the seconds it was asked to wait pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass that the loop would have slept."""
        if timeout is None:
            msg = "everything waits and nothing is due: a deadlock"
            raise RuntimeError(msg)
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; `time()` begins at `start` seconds."""

    def __init__(self, start: float = 1000.0) -> None:
        self._jumping = JumpingSelector()
        self._start = start
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._start + self._jumping.now


def run_virtual(main: Coroutine[Any, Any, T], start: float = 1000.0) -> T:
    """Run `main` to its end in virtual time; raises RuntimeError on a deadlock."""
    loop = VirtualLoop(start)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
