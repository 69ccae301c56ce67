"""One attempt: send → classify → settle.

An attempt is finished and accounted for whatever becomes of its caller. Its permit is settled exactly once,
when it is known what the answer means, and released when upstream has delivered the whole body.
"""

from __future__ import annotations

from functools import partial

from proxy.clock import Clock
from proxy.core.answers.answers import Answer
from proxy.core.answers.classify import ResponseTable, classify, failure_class
from proxy.core.answers.idempotency import Keys
from proxy.core.limits.decision import Permit, Settlement
from proxy.core.model import Execution, Failure, ResponseClass
from proxy.core.wire.fields import Fields
from proxy.core.wire.response_headers import correlation_id, left_after, pause_seconds
from proxy.http.response import Response
from proxy.http.upstream import Outbound, Upstream
from proxy.observe.telemetry import Telemetry
from proxy.request.access import AccessMemory
from proxy.request.hearing import Hearing
from proxy.request.job import Job
from proxy.request.replies import refuse_outlived
from proxy.waiting.scheduler import Scheduler

KNOWN_SECONDS = 60.0
"""For so long a failure to connect says how it is: within that time one request tries again, here or
elsewhere.
"""


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
        self._unreached: tuple[Failure, float] | None = None

    def trouble(self) -> Failure | None:
        """Why Xero's API host cannot be reached, where that is the last thing known of it, and new."""
        if self._unreached is None:
            return None
        failure, at = self._unreached
        return failure if self._clock.now() - at < KNOWN_SECONDS else None

    def heed_key(self, job: Job) -> Answer | None:
        """Bound the wait by the life of a key that was used before; the answer where that is over."""
        if job.history.keyed and not job.history.own_key:
            elapsed = self._clock.elapsed()
            job.heed_others(self._keys, elapsed)
            job.bound_by_key(self._clock.now(), elapsed)
            if elapsed >= job.history.key_ends():
                return refuse_outlived(job)
        return None

    async def attempt(self, job: Job) -> tuple[Response | Failure, ResponseClass]:
        """Send once and learn from what comes back. The job's permit, where limits apply, is its no longer
        when it is returned or is sure to be: whatever else happens, `break_off` is to follow.
        """
        began, permit, route = self._clock.now(), job.permit, job.route
        if job.history.keyed:
            job.use_key(self._keys, self._clock.elapsed(), began)
        job.sending = True
        hearing = None if permit is None else self._hearing(job, permit)
        outbound = Outbound(
            route.host,
            job.call.method,
            job.call.target,
            job.headers(),
            job.body,
            job.history.key_ends(),
            None if hearing is None else hearing.heard,
            max(job.deadline, job.ticket.prompt_until),
        )
        try:
            outcome = await self._upstream.send(outbound)
        except BaseException:
            self._count(job, failure_class(self._table, "upstream_reset"), began)
            raise
        finally:
            if hearing is not None:
                hearing.close()
        row = self._classify(job, outcome)
        settlement = self._settlement(job, outcome, row)
        self._count(job, row, began)
        whole = not isinstance(outcome, Response) or outcome.complete
        if permit is not None:
            self._note_reach(outcome, row)
            self._access.learn(route, job.authorization, row, began)
            if not permit.settled:
                await self._scheduler.settle(permit, settlement, ended=whole)
        job.broke |= row.breaks
        if isinstance(outcome, Response) and not whole:
            outcome.read_ahead(lambda _whole: self._release(permit))
        else:
            self._release(permit)
        job.permit = None
        return outcome, row

    async def break_off(self, job: Job) -> None:
        """Return a permit whose attempt did not come to its end: it failed here, or was cut at shutdown. What
        was sent may have reached Xero.
        """
        permit, job.permit = job.permit, None
        if permit is None:
            return
        if not permit.settled:
            row = failure_class(self._table, "upstream_reset" if job.sending else "refused_expired")
            await self._scheduler.settle(permit, Settlement(row, job.sending, self._clock.now()))
        self._release(permit)

    def _hearing(self, job: Job, permit: Permit) -> Hearing:
        if permit.probes:
            job.when_gone(partial(self._scheduler.let_go, permit))
            if job.gone():
                self._scheduler.let_go(permit)
        return Hearing(self._table, self._clock, job.route.api, partial(self._account, job, permit))

    async def _account(
        self, job: Job, permit: Permit, row: ResponseClass, fields: Fields, head_at: float
    ) -> None:
        await self._scheduler.settle(permit, self._learned(job, row, fields, head_at), ended=False)

    def _note_reach(self, outcome: Response | Failure, row: ResponseClass) -> None:
        if row.execution is not Execution.NEVER_SENT:
            self._unreached = None
        elif isinstance(outcome, Failure) and row.hold is not None:
            self._unreached = outcome, self._clock.now()

    def _release(self, permit: Permit | None) -> None:
        if permit is not None:
            self._scheduler.release(permit)

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
            return Settlement(row, outcome.sent, self._clock.now(), again=job.broke)
        return self._learned(job, row, outcome.fields, outcome.head_at)

    def _learned(self, job: Job, row: ResponseClass, fields: Fields, head_at: float) -> Settlement:
        job.retry_after = None
        if b"retry-after" in fields:
            job.retry_after = pause_seconds(fields, row, self._clock.wall())
        return Settlement(row, True, head_at, left_after(fields, row), job.retry_after, job.broke)

    def _count(self, job: Job, row: ResponseClass, began: float) -> None:
        seconds, sent = self._clock.now() - began, row.execution is not Execution.NEVER_SENT
        job.ended(self._keys, row)
        job.record.attempts += 1
        job.record.sends += sent
        job.record.upstream_seconds += seconds
        self._telemetry.attempt(job.route.api, row.name, seconds, sent=sent)
