"""`/events`: what the status page shows, again and again while somebody watches (server-sent events).

All watchers get the same bytes, made once a second, or less often where that takes long: making them takes
at most one part in `REST` of the time, in steps between which callers are served. A watcher that reads
slowly skips what it has missed. While nobody watches nothing is made. Who finds no place may ask for the
latest again and again, which makes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from proxy.clock import Clock
from proxy.observe.steps import Steps, paced

INTERVAL_SECONDS = 1.0
EARLY_SECONDS = 0.001
"""So much too early a timer may be."""
REST = 20
WATCHERS_MAX = 16


class Events:
    """The stream of `/events`. `render` makes one event's data: bytes without a line break."""

    def __init__(self, render: Callable[[], Steps[bytes]], clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._event = b""
        self._next = -inf
        self._making = asyncio.Lock()
        self._watchers = 0

    @contextmanager
    def place(self) -> Iterator[bool]:
        """One more watches in the block; False where there are too many already."""
        free = self._watchers < WATCHERS_MAX
        self._watchers += free
        try:
            yield free
        finally:
            self._watchers -= free

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
