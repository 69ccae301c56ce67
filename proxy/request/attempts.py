"""The attempts at one request: [ acquire → send → classify → settle → decide ]*."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import inf
from random import Random

from proxy.clock import Clock
from proxy.core.answers.answers import TOO_MANY_REQUESTS, Answer
from proxy.core.answers.classify import ResponseTable, failure_class
from proxy.core.answers.idempotency import KEY_BYTES, Keys
from proxy.core.answers.retry import STOP, Again, Backoff, Budgets, Stop, decide
from proxy.core.answers.tried import Tried
from proxy.core.limits.decision import Permit
from proxy.core.line.lines import Ticket
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import Execution
from proxy.core.wire.response_headers import correlation_id
from proxy.http.body import Body
from proxy.http.connecting import TOO_LATE
from proxy.http.response import Response
from proxy.http.upstream import Upstream
from proxy.observe.telemetry import Telemetry
from proxy.request.access import AccessMemory
from proxy.request.attempt import Ended, Gone, Reached, Recipient, Sender
from proxy.request.replies import refuse, refuse_expired, refuse_outlived
from proxy.waiting.scheduler import NEVER_SENT, Scheduler

UNAUTHORIZED = 401
BACKOFF = "backoff"
"""What a request is said to have waited for before it was tried again."""


class Attempts:
    """Tries until there is an answer, or no more hope of one."""

    def __init__(
        self,
        backoff: Backoff,
        *,
        table: ResponseTable,
        scheduler: Scheduler,
        upstream: Upstream,
        telemetry: Telemetry,
        budgets: Budgets,
        access: AccessMemory,
        keys: Keys,
        clock: Clock,
        random: Random,
        random_bits: Callable[[int], bytes],
    ) -> None:
        self._backoff = backoff
        self._table = table
        self._scheduler = scheduler
        self._sender = Sender(upstream, scheduler, table, access, clock)
        self._telemetry = telemetry
        self._budgets = budgets
        self._access = access
        self._keys = keys
        self._clock = clock
        self._random = random
        self._random_bits = random_bits
        self._pauses: dict[asyncio.Future[None], float] = {}
        self._drain_until = inf

    def drain(self, until: float) -> None:
        """Let nobody back off beyond `until`; whoever would is refused now."""
        self._drain_until = until
        for awake, end in self._pauses.items():
            if end > until and not awake.done():
                awake.set_result(None)

    def heed_key(self, tried: Tried, ticket: Ticket) -> Answer | None:
        """Bound the wait by the life of a key that was used before; the answer where that is over."""
        if tried.keyed and not tried.own_key:
            elapsed = self._clock.elapsed()
            tried.heed_others(self._keys, elapsed)
            ticket.deadline = min(ticket.deadline, tried.bound_by_key(self._clock.now(), elapsed))
            if elapsed >= tried.key_ends():
                return refuse_outlived()
        return None

    def refuse(self, tried: Tried, ticket: Ticket, refusal: Refusal) -> Answer:
        """The answer to a request that gets no permit in time."""
        self._telemetry.shed(refusal.why)
        if refusal.limit:
            tried.wait(refusal.limit)
        left, trouble = self._scheduler.left(ticket.ask), self._sender.trouble()
        answer = refuse(tried, refusal, self._clock.now(), self._clock.wall(), left, trouble)
        if trouble is not None and answer.name == trouble.name:
            tried.detail = trouble.detail
        return answer

    async def all(self, caller: Recipient, tried: Tried, ticket: Ticket, body: Body | None) -> Reached:
        """Make them, each with a permit of its own where limits apply."""
        route = tried.request.route
        self._budgets.of(route.app, route.tenant).request(self._clock.now())
        ended: Ended | None = None
        while not caller.gone:
            before = ended
            reached = await self._next(caller, tried, ticket, body)
            if not isinstance(reached, Ended):
                return _rather(before, reached)
            ended = reached
            decision = self._decide(caller, tried, ended)
            if isinstance(decision, Stop):
                if before is not None and ended.row.name == TOO_LATE:
                    # Why there was no connection says more than that the next one would have been too late.
                    ended = before if before.row.execution is Execution.NEVER_SENT else ended
                return ended
            if isinstance(ended.outcome, Response):
                ended.outcome.close()
            self._telemetry.retry(ended.row.name)
            if decision.fresh_key:
                tried.renew_key(self._random_bits(KEY_BYTES))
            await self._pause(caller, tried, decision.at)
            if decision.at >= self._drain_until and not caller.gone:
                return self.refuse(tried, ticket, Refusal(Why.DRAINING, "", decision.at))
        return Gone.QUEUE

    async def _next(self, caller: Recipient, tried: Tried, ticket: Ticket, body: Body | None) -> Reached:
        """One attempt, with a permit where limits apply."""
        authorization = tried.request.authorization
        permit: Permit | None = None
        if tried.request.route.limited:
            if self._access.expired(authorization):
                return refuse_expired(tried)
            granted = self._scheduler.take(ticket) or await self._acquire(caller, tried, ticket)
            if not isinstance(granted, Permit):
                return Gone.QUEUE if granted is None else self.refuse(tried, ticket, granted)
            permit = granted
        try:
            if permit is not None and self._access.expired(authorization):
                await self._scheduler.settle(permit, NEVER_SENT)
                return refuse_expired(tried)
            return await self._attempt(caller, tried, permit, ticket, body)
        except BaseException:
            if permit is not None:
                await self._sender.break_off(permit)
            raise

    async def _acquire(self, caller: Recipient, tried: Tried, ticket: Ticket) -> Permit | Refusal | None:
        caller.on_gone = lambda: self._scheduler.caller_left(ticket)
        bound = tried.bound_by_key(self._clock.now(), self._clock.elapsed())
        ticket.deadline = min(ticket.deadline, bound)
        return await self._scheduler.acquire(ticket)

    async def _attempt(
        self, caller: Recipient, tried: Tried, permit: Permit | None, ticket: Ticket, body: Body | None
    ) -> Ended:
        began = self._clock.now()
        ended: Ended | None = None
        if tried.keyed:
            tried.use_key(self._keys, self._clock.elapsed(), began)
        deadline = max(tried.request.deadline, ticket.prompt_until)
        try:
            ended = await self._sender.attempt(caller, tried, permit, body, deadline)
        finally:
            self._count(tried, ended, began)
        return ended

    def _count(self, tried: Tried, ended: Ended | None, began: float) -> None:
        """Note how an attempt ended; one that did not was cut off, and may have been executed."""
        if ended is None:
            row, retry_after = failure_class(self._table, "upstream_reset"), None
            seconds = self._clock.now() - began
        else:
            row, retry_after, seconds = ended.row, ended.retry_after, ended.seconds
            if isinstance(ended.outcome, Response):
                tried.detail, tried.received = "", ended.outcome.status
                tried.correlation_id = correlation_id(ended.outcome.fields)
            else:
                tried.detail = ended.outcome.detail
        tried.record(row, retry_after)
        tried.leave_key(self._keys, row)
        tried.upstream_seconds += seconds
        sent = row.execution is not Execution.NEVER_SENT
        self._telemetry.attempt(tried.request.route.api, row.name, seconds, sent=sent)

    def _decide(self, caller: Recipient, tried: Tried, ended: Ended) -> Again | Stop:
        row, request, now = ended.row, tried.request, self._clock.now()
        if row.execution is Execution.DONE or caller.gone:
            return STOP
        if not request.route.limited:
            if row.execution is not Execution.NEVER_SENT:
                return STOP
            row = replace(row, hold=None)  # none stops it
        decision = decide(
            tried,
            row,
            ended.retry_after,
            request.deadline,
            now,
            self._clock.elapsed(),
            self._random.random(),
            self._backoff,
            self._budgets.of(request.route.app, request.route.tenant),
        )
        if isinstance(decision, Stop) and decision.suppressed:
            self._telemetry.retry_suppressed(decision.suppressed)
        return decision

    async def _pause(self, caller: Recipient, tried: Tried, at: float) -> None:
        """Back off until `at`; the caller's leaving ends it, and so does a drain that ends before."""
        began = self._clock.now()
        if at <= began or at >= self._drain_until or caller.gone:
            return
        awake = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not awake.done():
                awake.set_result(None)

        timer = self._clock.call_at(at, wake)
        caller.on_gone = wake
        self._pauses[awake] = at
        try:
            await awake
        finally:
            del self._pauses[awake]
            timer.cancel()
        tried.wait(BACKOFF, self._clock.now() - began)


def _rather(ended: Ended | None, granted: Answer | Gone) -> Reached:
    """Of a refusal and what the last attempt brought, if any, what says more: why nothing was ever sent, and
    Xero's own word about a limit.
    """
    if ended is None or isinstance(granted, Gone):
        return granted
    outcome, limited = ended.outcome, granted.status == TOO_MANY_REQUESTS
    if limited and isinstance(outcome, Response) and outcome.complete:
        limited = outcome.status == TOO_MANY_REQUESTS or ended.row.limit is not None
        return ended if limited else granted
    never = ended.row.execution is Execution.NEVER_SENT and granted.status != UNAUTHORIZED
    return ended if never else granted
