"""One coarse timer for the deadlines of many connections.

A timer for each request costs more than the rest of its bookkeeping, so a connection only sets an
attribute, and one timer looks at all of them now and then. A deadline is therefore noticed up to `tick`
seconds late, never early.
"""

from __future__ import annotations

from typing import Protocol

from proxy.clock import Clock, Timer

TICK = 0.5


class Timed(Protocol):
    """What can be watched."""

    deadline: float

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed; set another, or go away."""


class Deadlines:
    """Watches connections; the timer runs only while there are any."""

    def __init__(self, clock: Clock, tick: float = TICK) -> None:
        self._clock = clock
        self._tick = tick
        self._watched: set[Timed] = set()
        self._timer: Timer | None = None

    def watch(self, timed: Timed) -> None:
        """Call `timed.expire` once its `deadline` has passed, until it is forgotten."""
        self._watched.add(timed)
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now() + self._tick, self._look)

    def forget(self, timed: Timed) -> None:
        """Stop watching."""
        self._watched.discard(timed)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.now()
        for timed in [timed for timed in self._watched if timed.deadline <= now]:
            timed.expire(now)
        if self._watched:
            self._timer = self._clock.call_at(now + self._tick, self._look)
