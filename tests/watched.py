"""Virtual time that notices busy waiting, and lets a test look at everything before time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from selectors import SelectorKey
from typing import TypeVar

from tests.fakes import JumpingSelector, VirtualLoop

T = TypeVar("T")
DUST = 1e-6
"""So many seconds are no time at all."""


class _Watched(JumpingSelector):
    """Calls `idle` before time passes, and counts the turns of the loop in which none does."""

    def __init__(self, idle: Callable[[], None], most_turns: int) -> None:
        super().__init__()
        self.idle = idle
        self._most_turns = most_turns
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self._turns += 1
        assert self._turns < self._most_turns, "the loop turns and turns and no time passes"
        if timeout is None or timeout > DUST:
            self._turns = 0
            self.idle()
        return super().select(timeout)


class WatchedLoop(VirtualLoop):
    """Virtual time that notices busy waiting, and a moment to look at everything when nothing moves."""

    def __init__(self, idle: Callable[[], None] = lambda: None, most_turns: int = 5_000) -> None:
        self._start = 1000.0
        self._jumping = self.watched = _Watched(idle, most_turns)
        asyncio.SelectorEventLoop.__init__(self, self._jumping)


def run_watched(main: Callable[[WatchedLoop], Awaitable[T]]) -> T:
    """Run `main` to its end in virtual time; fails on a deadlock and on a busy loop."""
    loop = WatchedLoop()

    async def run() -> T:
        return await main(loop)

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()
