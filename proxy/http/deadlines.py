"""One coarse timer for the deadlines of many connections.

A timer for each request costs more than the rest of its bookkeeping, so a connection only sets an
attribute, and one timer looks at all of them now and then. A deadline is therefore noticed up to `tick`
seconds late, never early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.clock import Clock, Timer

TICK = 0.5


class Timed(Protocol):
    """What can be watched."""

    deadline: float

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed; set another, or go away."""


class Deadlines:
    """Watches connections; the timer runs only while there are any. `late` is told each time how many seconds
    after its time the timer was called: so late is the event loop for everybody.
    """

    def __init__(
        self, clock: Clock, tick: float = TICK, late: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        self._clock = clock
        self._tick = tick
        self._late = late
        self._due = 0.0
        self._watched: set[Timed] = set()
        self._timer: Timer | None = None

    def watch(self, timed: Timed) -> None:
        """Call `timed.expire` once its `deadline` has passed, until it is forgotten."""
        self._watched.add(timed)
        if self._timer is None:
            self._wait(self._clock.now())

    def forget(self, timed: Timed) -> None:
        """Stop watching."""
        self._watched.discard(timed)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.now()
        self._late(max(0.0, now - self._due))
        for timed in [timed for timed in self._watched if timed.deadline <= now]:
            timed.expire(now)
        if self._watched:
            self._wait(now)

    def _wait(self, now: float) -> None:
        self._due = now + self._tick
        self._timer = self._clock.call_at(self._due, self._look)
