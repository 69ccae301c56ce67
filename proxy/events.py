"""`/events`: what the status page shows, again and again while somebody watches (server-sent events).

All watchers get the same bytes, made once a second, or less often where that takes long: making them takes
at most one part in `REST` of the time. A watcher that reads slowly skips what it has missed. While nobody
watches nothing is made.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from math import inf
from typing import Any

from aiohttp import hdrs, web

from proxy.clock import Clock

INTERVAL_SECONDS = 1.0
REST = 50
WATCHERS_MAX = 16
STALLED_SECONDS = 20.0
"""Whoever takes nothing for so long has gone."""
_HEADERS = {hdrs.CONTENT_TYPE: "text/event-stream"}


class Events:
    """The stream of `/events`. `render` makes one event's data: bytes without a line break."""

    def __init__(self, render: Callable[[], bytes], clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._event = b""
        self._next = -inf
        self._watchers: set[asyncio.Task[Any]] = set()

    async def watch(self, request: web.Request) -> web.StreamResponse | None:
        """Serve one watcher until it leaves or `close`; None where there are too many already."""
        task = asyncio.current_task()
        if task is None or len(self._watchers) >= WATCHERS_MAX:
            return None
        self._watchers.add(task)
        response = web.StreamResponse(headers=_HEADERS)
        try:
            with contextlib.suppress(ConnectionError):
                await response.prepare(request)
                told = b""
                while True:
                    if (event := self._latest()) is not told:  # a timer may be a little early
                        async with asyncio.timeout(STALLED_SECONDS):
                            await response.write(event)
                        told = event
                    await self._clock.sleep_until(self._next)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watchers.discard(task)
        return response

    def close(self) -> None:
        """Let go of everybody."""
        for task in self._watchers:
            task.cancel()

    def _latest(self) -> bytes:
        began = self._clock.now()
        if began >= self._next:
            self._event = b"data: %b\n\n" % self._render()
            ended = self._clock.now()
            self._next = max(began + INTERVAL_SECONDS, ended + REST * (ended - began))
        return self._event
