"""The only file that reads time or sets a timer.

Everything that decides takes `now` as an argument. Durations and deadlines use a monotonic clock, so a wall
clock that jumps changes nothing; the wall clock is for people, and says how old a key may be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

COMPARE_SECONDS = 1.0
"""How often the loop's clock, which stands still while the machine sleeps, is compared with this one."""
APART_SECONDS = 0.05
"""By so much the two may drift apart between two readings of one moment."""


class Timer(Protocol):
    """What `Clock.call_at` gives back."""

    def cancel(self) -> None:
        """Forget the call; nothing happens if it was made already."""


class Clock:
    """Monotonic seconds that go on while the machine sleeps (where the system counts them), timers by them,
    and the wall clock.

    `now` is what the system or the loop reads and nothing around it: a request asks for the time a dozen
    times.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        usual = type(self._loop).time is asyncio.BaseEventLoop.time
        boot = getattr(time, "CLOCK_BOOTTIME", None) if usual else None
        self.now: Callable[[], float] = self._loop.time if boot is None else partial(time.clock_gettime, boot)
        """Monotonic seconds; only differences mean something."""
        self._as_the_loop = boot is None
        self._pending: dict[_BootTimer, None] = {}
        self._comparing: Timer | None = None
        self._ahead = 0.0
        self._read: tuple[float, float] | None = None
        self._elapsed = 0.0

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def elapsed(self) -> float:
        """Seconds on a scale on which nothing looks younger than it is: from one reading to the next as many
        pass as `now` or the wall clock says, whichever is more. A virtual machine that was paused has a
        monotonic clock that knows nothing of it.
        """
        read = self.now(), self.wall()
        if self._read is None:
            self._elapsed = read[0]
        else:
            self._elapsed += max(read[0] - self._read[0], read[1] - self._read[1])
        self._read = read
        return self._elapsed

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, at `when` on `now`'s scale; within `COMPARE_SECONDS` of it where the machine
        slept meanwhile.
        """
        if self._as_the_loop:
            return self._loop.call_at(when, callback)
        timer = _BootTimer(when, callback, self._pending)
        timer.set(self._loop, self.now())
        if self._comparing is None:
            self._compare_later()
        return timer

    async def sleep_until(self, when: float) -> None:
        """Wait until `now()` is `when`; for one turn of the loop in any case."""
        if when <= self.now():
            await asyncio.sleep(0)
            return
        awake = asyncio.Event()
        timer = self.call_at(when, awake.set)
        try:
            await awake.wait()
        finally:
            timer.cancel()

    def _compare_later(self) -> None:
        self._ahead = self.now() - self._loop.time()
        self._comparing = self._loop.call_later(COMPARE_SECONDS, self._compare)

    def _compare(self) -> None:
        """Set all timers anew where the machine has slept."""
        self._comparing = None
        now = self.now()
        if now - self._loop.time() > self._ahead + APART_SECONDS:
            for timer in self._pending:
                timer.set(self._loop, now)
        if self._pending:
            self._compare_later()


class _BootTimer:
    """A timer of the loop for a time on a clock that goes on while the loop's stands still."""

    __slots__ = ("_all", "_callback", "_handle", "_when")

    def __init__(self, when: float, callback: Callable[[], object], every: dict[_BootTimer, None]) -> None:
        self._when = when
        self._callback = callback
        self._all = every
        self._all[self] = None
        self._handle: Timer | None = None

    def set(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Ring at its time, `now` being this moment; instead of when it was to ring before."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = loop.call_at(loop.time() + self._when - now, self._ring)

    def cancel(self) -> None:
        """Forget the call."""
        if self._all.pop(self, self) is None and self._handle is not None:
            self._handle.cancel()

    def _ring(self) -> None:
        del self._all[self]
        self._callback()
