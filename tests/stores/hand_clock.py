"""Time that passes when a test says so, for stores that have a thread or a server beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.clock import Clock


class _Timer:
    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandClock(Clock):
    """A monotonic and a wall clock that stand still, and the timers that were set."""

    def __init__(self, now: float = 1000.0, wall: float = 1.7e9) -> None:
        super().__init__(asyncio.get_event_loop_policy().new_event_loop())
        self._loop.close()
        self.seconds = now
        self.walled = wall
        self.now = lambda: self.seconds
        self._timers: list[_Timer] = []

    def wall(self) -> float:
        return self.walled

    def call_at(self, when: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(when, callback)
        self._timers.append(timer)
        return timer

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass, and call what is due then."""
        self.seconds += seconds
        self.walled += seconds
        due = [timer for timer in self._timers if timer.when <= self.seconds]
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            if not timer.cancelled:
                timer.callback()

    @property
    def waiting(self) -> int:
        """Timers that are still to come."""
        return sum(not timer.cancelled for timer in self._timers)
