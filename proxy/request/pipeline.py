"""The life of a request, and the only place that knows the order of its stages.

    caller → route → admit → [ acquire → send → classify → settle → decide ]* → respond → caller

An attempt that has been sent is finished and accounted for even when the caller has gone; only the waits
between attempts are cut short then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from proxy.clock import Clock
from proxy.core.answers.answers import Answer, Asked, failed, unrouted
from proxy.core.answers.classify import ResponseTable
from proxy.core.answers.idempotency import Keys
from proxy.core.answers.marks import date, marks
from proxy.core.answers.retry import STOP, Again, Backoff, Budgets, Stop, decide
from proxy.core.answers.route import AppIds, Families, Prefixes, route, terms_of
from proxy.core.limits.decision import Permit
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import Execution, Failure, Host, ResponseClass
from proxy.core.wire.heads import reason_phrase
from proxy.http.body import BodyProblem, BodyStore
from proxy.http.callers import Call
from proxy.http.response import Response
from proxy.http.upstream import TOO_LATE, Upstream
from proxy.observe.telemetry import Record, Telemetry
from proxy.request.access import AccessMemory
from proxy.request.attempt import Sender
from proxy.request.job import Job
from proxy.request.pauses import Pauses
from proxy.request.refreshes import Ended, Reached, Refreshes
from proxy.request.replies import TOO_MANY_REQUESTS, Passed, give_up, pass_on, refuse, refuse_expired, unkept
from proxy.waiting.scheduler import Scheduler

CALLER_LEFT = "caller_left"
CALLER_LEFT_STATUS = 499
"""What is recorded where nobody is left to answer."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the pipeline: seconds a request may wait, the longest `Retry-After` sent to callers,
    whether unkeyed writes get an `Idempotency-Key` and Xero a `Via`, and the retries.
    """

    max_wait: float = 120.0
    retry_after_max: float = 300.0
    idempotency: bool = True
    via: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class Pipeline:
    """Takes a call from arrival to its one answer."""

    def __init__(
        self,
        policy: Policy,
        *,
        prefixes: Prefixes,
        table: ResponseTable,
        scheduler: Scheduler,
        upstream: Upstream,
        bodies: BodyStore,
        telemetry: Telemetry,
        budgets: Budgets,
        access: AccessMemory,
        refreshes: Refreshes,
        keys: Keys,
        clock: Clock,
        random: Random,
        random_bits: Callable[[int], bytes],
    ) -> None:
        self._policy = policy
        self._families = Families(prefixes)
        self._scheduler = scheduler
        self._sender = Sender(upstream, scheduler, table, telemetry, access, clock, keys)
        self._bodies = bodies
        self._telemetry = telemetry
        self._budgets = budgets
        self._access = access
        self._refreshes = refreshes
        self._clock = clock
        self._random = random
        self._random_bits = random_bits
        self._apps = AppIds()
        self._pauses = Pauses(clock)

    def drain(self, until: float) -> None:
        """Let nobody back off beyond `until`; whoever would is refused now."""
        self._refreshes.drain(until)
        self._pauses.drain(until)

    async def handle(self, call: Call) -> None:
        """Answer one call, exactly once, and record it."""
        record = Record(self._random.randbytes(8).hex(), self._clock.now(), call.method)
        try:
            await self._respond(call, await self._reply(call, record), record)
        except asyncio.CancelledError:  # the drain is over
            record.concluded("draining", CALLER_LEFT_STATUS)
            raise
        except Exception:
            if not call.answered:
                await self._respond(call, failed("internal", "The proxy failed.", Asked(record.id)), record)
            raise
        finally:
            self._telemetry.request(record, self._clock.now() - record.arrived)

    async def _reply(self, call: Call, record: Record) -> Passed | Answer | None:
        """The stages up to the answer; None where the caller has gone."""
        job = self._route(call, record)
        if isinstance(job, Answer):
            return job
        try:
            if (outlived := self._sender.heed_key(job)) is not None:
                return outlived
            if call.has_body:
                refusal = await self._admit(call, job)
                if refusal is not None or call.gone:
                    return refusal
            if job.route.host is Host.IDENTITY:
                reached = await self._refreshes.reach(job, self._attempts)
            else:
                reached = await self._attempts(job)
            return self._conclude(job, reached) if isinstance(reached, Ended) else reached
        finally:
            try:
                await self._sender.break_off(job)
            finally:
                self._scheduler.leave(job.ticket)
                job.close()

    def _route(self, call: Call, record: Record) -> Job | Answer:
        terms = terms_of(call.fields, self._apps, via=self._policy.via)
        found = route(call.target, terms, self._families)
        if isinstance(found, str):
            accept = call.fields.get(b"accept", b"")
            return unrouted(found, Asked(record.id, accept, self._policy.retry_after_max))
        record.routed(found)
        bits = self._random_bits if self._policy.idempotency else None
        return Job(call, found, terms, record, self._policy.max_wait, self._policy.retry_after_max, bits)

    async def _admit(self, call: Call, job: Job) -> Answer | None:
        """Whoever has no hope need not upload; then the whole body in time, before any permit and any room in
        the line is taken. Without a body there is nothing to do before it must wait for a permit.
        """
        if job.route.limited and (refusal := self._scheduler.hopeless(job.ticket)):
            return self._refuse(job, refusal)
        timer = self._clock.call_at(max(job.deadline, job.ticket.prompt_until), call.late)
        try:
            kept = await call.keep_body(
                self._refreshes.bodies if job.route.host is Host.IDENTITY else self._bodies
            )
        finally:
            timer.cancel()
        if isinstance(kept, BodyProblem):
            if kept is BodyProblem.GONE:
                job.left_at("body")
            elif kept is BodyProblem.STORAGE:
                self._telemetry.shed("spool_full")
            return unkept(job, kept)
        job.body = kept
        job.record.bytes_in = kept.size if kept else 0
        return None

    def _refuse(self, job: Job, refusal: Refusal) -> Answer:
        self._telemetry.shed(refusal.why)
        job.record.limit = job.record.limit or refusal.limit
        left = self._scheduler.left(job.ticket.ask)
        now, wall = self._clock.now(), self._clock.wall()
        return refuse(job, refusal, now, wall, left, self._sender.trouble())

    async def _attempts(self, job: Job) -> Reached:
        """[ acquire → send → classify → settle → decide ]*."""
        self._budgets.of(job.route.app, job.route.tenant).request(self._clock.now())
        ended: Ended | None = None
        while not job.gone():
            job.sending = False
            if job.route.limited:
                if self._access.expired(job.authorization):
                    return refuse_expired(job)
                granted = self._scheduler.take(job.ticket) or await self._acquire(job)
                if not isinstance(granted, Permit):
                    return _rather(ended, granted)
                job.permit = granted
            outcome, row = await self._sender.attempt(job)
            before, ended = ended, Ended(outcome, row, job.retry_after)
            decision = self._decide(job, row)
            if isinstance(decision, Stop):
                # Why there was no connection says more than that the next one would have been too late.
                never = before is not None and before.row.execution is Execution.NEVER_SENT
                return before if never and row.name == TOO_LATE else ended
            if isinstance(outcome, Response):
                outcome.close()
            self._telemetry.retry(row.name)
            if decision.fresh_key:
                job.renew_key()
            await self._pauses.until(job, decision.at)
            if decision.at >= self._pauses.drain_until and not job.gone():
                return self._refuse(job, Refusal(Why.DRAINING, "", decision.at))
        job.left_at("queue")
        return None

    async def _acquire(self, job: Job) -> Permit | Answer | None:
        """A permit, or the answer where there will be none in time; None when the caller has gone."""
        job.when_gone(lambda: self._scheduler.caller_left(job.ticket))
        job.bound_by_key(self._clock.now(), self._clock.elapsed())
        granted = await self._scheduler.acquire(job.ticket)
        if isinstance(granted, Permit):
            job.permit = granted
        job.count_waits()
        if granted is None:
            job.left_at("queue")
        elif job.permit is not None and self._access.expired(job.authorization):
            return refuse_expired(job)
        return self._refuse(job, granted) if isinstance(granted, Refusal) else granted

    def _decide(self, job: Job, row: ResponseClass) -> Again | Stop:
        if row.execution is Execution.DONE or job.gone():
            return STOP
        if not job.route.limited:
            if row.execution is not Execution.NEVER_SENT:
                return STOP
            row = replace(row, hold=None)  # none stops it
        now, elapsed, random = self._clock.now(), self._clock.elapsed(), self._random.random()
        backoff, budget = self._policy.backoff, self._budgets.of(job.route.app, job.route.tenant)
        decision = decide(
            job.history, row, job.retry_after, job.deadline, now, elapsed, random, backoff, budget
        )
        if isinstance(decision, Stop) and decision.suppressed:
            self._telemetry.retry_suppressed(decision.suppressed)
        return decision

    def _conclude(self, job: Job, ended: Ended) -> Passed | Answer | None:
        outcome = ended.outcome
        if job.gone():
            if isinstance(outcome, Response):
                outcome.close()
            job.left_at("upstream")
            return None
        if isinstance(outcome, Failure):
            return give_up(job, outcome)
        return pass_on(job, outcome, ended.row, self._clock.now(), self._clock.wall())

    async def _respond(self, call: Call, reply: Passed | Answer | None, record: Record) -> None:
        """Write the answer with its marks, and note what was sent."""
        left = call.gone
        if reply is None or left:
            record.concluded(CALLER_LEFT, CALLER_LEFT_STATUS)
            self._telemetry.disconnect(record.gone_at or "response")
            if isinstance(reply, Passed):
                reply.response.close()
            return
        record.concluded(reply.name, reply.status, reply.error)
        received = reply.status if isinstance(reply, Passed) else record.received
        waits = (record.queue_seconds, record.upstream_seconds, record.limit)
        own = marks(reply.name, record.sends, *waits, received, reply.error)
        headers = (*reply.headers, *own)
        if isinstance(reply, Answer):
            reason, dated = reason_phrase(reply.status), (date(self._clock.wall()), *headers)
            record.bytes_out = await call.respond(reply.status, reason, dated, reply.body)
        else:
            response = reply.response
            rest = None if response.complete else response
            record.bytes_out = await call.respond(
                response.status, response.reason, headers, response.first, rest, declared=response.length
            )
            if response.truncated:
                record.concluded("upstream_truncated", reply.status, "http_response_incomplete")
        if call.gone:
            record.gone_at = "response"
            self._telemetry.disconnect(record.gone_at)


def _rather(ended: Ended | None, granted: Answer | None) -> Reached:
    """Of a refusal and what the last attempt brought, if any, what says more: why nothing was ever sent, and
    Xero's own word about a limit.
    """
    if ended is None or granted is None:
        return granted
    outcome, limited = ended.outcome, granted.status == TOO_MANY_REQUESTS
    if limited and isinstance(outcome, Response) and outcome.complete:
        limited = outcome.status == TOO_MANY_REQUESTS or ended.row.limit is not None
        return ended if limited else granted
    return ended if ended.row.execution is Execution.NEVER_SENT else granted
