"""`/events`: what the status page shows, again and again while somebody watches (server-sent events).

All watchers get the same bytes, made once a second, or less often where that takes long: making them takes
at most one part in `REST` of the time, in steps between which callers are served. A watcher that reads
slowly skips what it has missed. While nobody watches nothing is made. Who finds no place may ask for the
latest again and again, which makes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from proxy.clock import Clock
from proxy.observe.steps import Steps, paced

INTERVAL_SECONDS = 1.0
EARLY_SECONDS = 0.001
"""So much too early a timer may be."""
REST = 20
WATCHERS_MAX = 16
STALLED_SECONDS = 20.0
"""Whoever takes nothing for so long has gone."""


class Events:
    """The stream of `/events`. `render` makes one event's data: bytes without a line break."""

    def __init__(self, render: Callable[[], Steps[bytes]], clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._event = b""
        self._next = -inf
        self._making = asyncio.Lock()
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
        """The latest event's data, as soon as that is not `told`."""
        while (event := await self.latest()) is told:
            await self._clock.sleep_until(self._next)
        return event

    async def latest(self) -> bytes:
        """The data of an event of this second."""
        async with self._making:
            began = self._clock.now()
            if began + EARLY_SECONDS >= self._next:
                work = _Timed(self._render(), self._clock)
                self._event = await paced(work.steps(), self._clock)
                ended = self._clock.now()
                self._next = max(began + INTERVAL_SECONDS, ended + REST * work.seconds)
            return self._event


class _Timed:
    """Steps, and the seconds that they took without those in between."""

    def __init__(self, steps: Steps[bytes], clock: Clock) -> None:
        self._steps = steps
        self._clock = clock
        self.seconds = 0.0

    def steps(self) -> Steps[bytes]:
        """The same steps."""
        while True:
            began = self._clock.now()
            try:
                next(self._steps)
            except StopIteration as ended:
                result: bytes = ended.value
                return result
            finally:
                self.seconds += self._clock.now() - began
            yield


class Watcher:
    """The body of one watcher's answer, which has no end."""

    length = None

    def __init__(self, events: Events) -> None:
        self._events = events
        self._told = b""

    async def read(self) -> bytes:
        """Wait for the next event."""
        self._told = await self._events.after(self._told)
        return b"data: %b\n\n" % self._told

    def close(self) -> None:
        """Watch no longer."""
        self._events.forget(self)
