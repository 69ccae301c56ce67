"""Requests that back off before their next attempt."""

from __future__ import annotations

import asyncio
from math import inf

from proxy.clock import Clock
from proxy.request.job import Job


class Pauses:
    """All of them. `drain_until` is where a drain ends each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[asyncio.Future[None], float] = {}
        self.drain_until = inf

    def drain(self, until: float) -> None:
        """Let nobody back off beyond `until`."""
        self.drain_until = until
        for awake, end in self._ends.items():
            if end > until and not awake.done():
                awake.set_result(None)

    async def until(self, job: Job, at: float) -> None:
        """Back off until `at`; the caller's leaving ends it, and so does a drain that ends before."""
        began = self._clock.now()
        if at <= began or at >= self.drain_until or job.gone():
            return
        awake = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not awake.done():
                awake.set_result(None)

        timer = self._clock.call_at(at, wake)
        job.when_gone(wake)
        self._ends[awake] = at
        try:
            await awake
        finally:
            del self._ends[awake]
            timer.cancel()
        job.ticket.waited["backoff"] = job.ticket.waited.get("backoff", 0.0) + self._clock.now() - began
        job.count_waits()
