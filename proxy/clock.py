"""The only file that reads time or sets a timer.

Everything that decides takes `now` as an argument. Durations and deadlines use the event loop's
monotonic clock, so a wall clock that jumps changes nothing; the wall clock is for people.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """What `Clock.call_at` gives back."""

    def cancel(self) -> None:
        """Forget the call; nothing happens if it was made already."""


class Clock:
    """Monotonic seconds, timers and the wall clock of the running event loop.

    `now` is what the loop reads and nothing around it: a request asks for the time a dozen times.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        usual = type(self._loop).time is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = time.monotonic if usual else self._loop.time
        """Monotonic seconds; only differences mean something."""

    def wall(self) -> float:
        """Seconds since 1970, for logs and status only."""
        return time.time()

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, at `when` on `now`'s scale."""
        return self._loop.call_at(when, callback)

    async def sleep_until(self, when: float) -> None:
        """Wait until `now()` is `when`."""
        await asyncio.sleep(max(0.0, when - self.now()))
