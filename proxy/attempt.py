"""One attempt: send → classify → settle.

An attempt is finished and accounted for whatever becomes of its caller: its permit is settled exactly once,
when upstream has delivered the whole body.
"""

from __future__ import annotations

import asyncio

from proxy.access import AccessMemory
from proxy.clock import Clock
from proxy.core.answers import Answer
from proxy.core.classify import ResponseTable, classify, failure_class
from proxy.core.idempotency import Keys
from proxy.core.limits import Permit, Settlement
from proxy.core.model import Execution, Failure, ResponseClass
from proxy.core.response_headers import correlation_id, left_after, pause_seconds
from proxy.job import Job
from proxy.replies import refuse_outlived
from proxy.response import Response
from proxy.scheduler import Scheduler
from proxy.telemetry import Telemetry
from proxy.upstream import Outbound, Upstream


class Sender:
    """Makes attempts and accounts for them."""

    def __init__(
        self,
        upstream: Upstream,
        scheduler: Scheduler,
        table: ResponseTable,
        telemetry: Telemetry,
        access: AccessMemory,
        clock: Clock,
        keys: Keys,
    ) -> None:
        self._upstream = upstream
        self._scheduler = scheduler
        self._table = table
        self._telemetry = telemetry
        self._access = access
        self._clock = clock
        self._keys = keys
        self._settling: set[asyncio.Task[None]] = set()

    def heed_key(self, job: Job) -> Answer | None:
        """Bound the wait by the life of a key that was used before; the answer where that is over."""
        if job.history.keyed and not job.history.own_key:
            elapsed = self._clock.elapsed()
            job.heed_others(self._keys, elapsed)
            job.bound_by_key(self._clock.now(), elapsed)
            if elapsed >= job.history.key_ends():
                return refuse_outlived(job)
        return None

    async def attempt(self, job: Job, permit: Permit | None) -> tuple[Response | Failure, ResponseClass]:
        """Send once and learn from what comes back; `permit` is None where no limits apply."""
        began = self._clock.now()
        if job.history.keyed:
            job.use_key(self._keys, self._clock.elapsed())
        outbound = Outbound(
            job.route.host,
            job.call.method,
            job.call.target,
            job.headers(),
            job.body,
            job.history.key_ends(),
        )
        try:
            outcome = await self._upstream.send(outbound)
        except BaseException:
            await self._break_off(job, permit, began)
            raise
        row = self._classify(job, outcome)
        settlement = self._settlement(job, outcome, row)
        self._count(job, row, began)
        if permit is not None:
            self._access.learn(job.route, job.authorization, row, began)
        if isinstance(outcome, Response) and not outcome.complete:
            outcome.read_ahead(lambda _whole: self._settle_later(permit, settlement))
        elif permit is not None:
            await self._scheduler.settle(permit, settlement)
        return outcome, row

    async def give_back(self, permit: Permit) -> None:
        """Return a permit that is not used."""
        row = failure_class(self._table, "refused_expired")
        await self._scheduler.settle(permit, Settlement(row, sent=False, head_at=self._clock.now()))

    def _classify(self, job: Job, outcome: Response | Failure) -> ResponseClass:
        if isinstance(outcome, Failure):
            job.record.detail = outcome.detail
            return failure_class(self._table, outcome.name)
        job.record.detail = ""
        job.record.received = outcome.status
        job.record.correlation_id = correlation_id(outcome.fields)
        return classify(
            self._table, outcome.status, outcome.fields, outcome.first, job.route.api, kept=outcome.kept
        )

    def _settlement(self, job: Job, outcome: Response | Failure, row: ResponseClass) -> Settlement:
        if isinstance(outcome, Failure):
            job.retry_after = None
            return Settlement(row, outcome.sent, self._clock.now())
        job.retry_after = None
        if b"retry-after" in outcome.fields:
            job.retry_after = pause_seconds(outcome.fields, row, self._clock.wall())
        return Settlement(row, True, outcome.head_at, left_after(outcome.fields, row), job.retry_after)

    def _settle_later(self, permit: Permit | None, settlement: Settlement) -> None:
        if permit is None:
            return
        task = asyncio.ensure_future(self._scheduler.settle(permit, settlement))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _count(self, job: Job, row: ResponseClass, began: float) -> None:
        seconds, sent = self._clock.now() - began, row.execution is not Execution.NEVER_SENT
        job.ended(self._keys, row)
        job.record.attempts += 1
        job.record.sends += sent
        job.record.upstream_seconds += seconds
        self._telemetry.attempt(job.route.api, row.name, seconds, sent=sent)

    async def _break_off(self, job: Job, permit: Permit | None, began: float) -> None:
        """The attempt ended unforeseen, or was cut at shutdown: it may have reached Xero."""
        row = failure_class(self._table, "upstream_reset")
        self._count(job, row, began)
        if permit is not None:
            await self._scheduler.settle(permit, Settlement(row, sent=True, head_at=self._clock.now()))
