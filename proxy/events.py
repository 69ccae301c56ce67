"""`/events`: what the status page shows, again and again while somebody watches (server-sent events).

All watchers get the same bytes, made once a second, or less often where that takes long: making them takes
at most one part in `REST` of the time. A watcher that reads slowly skips what it has missed. While nobody
watches nothing is made.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from proxy.clock import Clock

INTERVAL_SECONDS = 1.0
EARLY_SECONDS = 0.001
"""So much too early a timer may be."""
REST = 50
WATCHERS_MAX = 16
STALLED_SECONDS = 20.0
"""Whoever takes nothing for so long has gone."""


class Events:
    """The stream of `/events`. `render` makes one event's data: bytes without a line break."""

    def __init__(self, render: Callable[[], bytes], clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._event = b""
        self._next = -inf
        self._watchers: set[Watcher] = set()

    def watcher(self) -> Watcher | None:
        """One more, until it is closed; None where there are too many already."""
        if len(self._watchers) >= WATCHERS_MAX:
            return None
        watcher = Watcher(self)
        self._watchers.add(watcher)
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """Give its place to somebody else."""
        self._watchers.discard(watcher)

    async def after(self, told: bytes) -> bytes:
        """The latest event, as soon as that is not `told`."""
        while (event := self._latest()) is told:
            await self._clock.sleep_until(self._next)
        return event

    def _latest(self) -> bytes:
        began = self._clock.now()
        if began + EARLY_SECONDS >= self._next:
            self._event = b"data: %b\n\n" % self._render()
            ended = self._clock.now()
            self._next = max(began + INTERVAL_SECONDS, ended + REST * (ended - began))
        return self._event


class Watcher:
    """The body of one watcher's answer, which has no end."""

    length = None

    def __init__(self, events: Events) -> None:
        self._events = events
        self._told = b""

    async def read(self) -> bytes:
        """Wait for the next event."""
        self._told = await self._events.after(self._told)
        return self._told

    def close(self) -> None:
        """Watch no longer."""
        self._events.forget(self)
