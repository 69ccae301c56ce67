"""The life of a request, and the only place that knows the order of its stages.

    caller → route → admit → [ acquire → send → classify → settle → decide ]* → respond → caller

What the caller sent is a `Request`, what has been tried of it a `Tried`, and what is written down a `Record`.
An attempt that has been sent is finished and accounted for even when the caller has gone; only the waits
between attempts are cut short then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from proxy.clock import Clock
from proxy.core.answers.answers import Answer, failed, written
from proxy.core.answers.marks import date, marks
from proxy.core.answers.route import AppIds, Families, Prefixes, request_of, route, terms_of
from proxy.core.answers.tried import Tried, untried
from proxy.core.limits.decision import Ask
from proxy.core.line.lines import Ticket
from proxy.core.model import Failure, Host, Request
from proxy.core.tokens.request import token_request
from proxy.core.wire.heads import reason_phrase
from proxy.http.body import Body, BodyProblem, BodyStore
from proxy.http.callers import Call
from proxy.http.response import Response
from proxy.observe.telemetry import Record, Telemetry
from proxy.request.attempt import Ended, Gone, Reached, Recipient
from proxy.request.attempts import Attempts
from proxy.request.refreshes import Refreshes
from proxy.request.replies import Passed, give_up, pass_on, unkept
from proxy.waiting.scheduler import Scheduler

CALLER_LEFT = "caller_left"
CALLER_LEFT_STATUS = 499
"""What is recorded where nobody is left to answer."""
PROBES = frozenset({"GET", "HEAD"})
"""Methods that are preferred as a probe."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the pipeline: seconds a request may wait, the longest `Retry-After` sent to callers,
    and whether unkeyed writes get an `Idempotency-Key` and Xero a `Via`.
    """

    max_wait: float = 120.0
    retry_after_max: float = 300.0
    idempotency: bool = True
    via: bool = False


class Pipeline:
    """Takes a call from arrival to its one answer."""

    def __init__(
        self,
        policy: Policy,
        *,
        prefixes: Prefixes,
        scheduler: Scheduler,
        attempts: Attempts,
        bodies: BodyStore,
        telemetry: Telemetry,
        refreshes: Refreshes,
        clock: Clock,
        random: Random,
        random_bits: Callable[[int], bytes],
    ) -> None:
        self._policy = policy
        self._families = Families(prefixes)
        self._scheduler = scheduler
        self._attempts = attempts
        self._bodies = bodies
        self._telemetry = telemetry
        self._refreshes = refreshes
        self._clock = clock
        self._random = random
        self._key_bits = random_bits if policy.idempotency else None
        self._apps = AppIds()

    def drain(self, until: float) -> None:
        """Let nobody back off beyond `until`; whoever would is refused now."""
        self._refreshes.drain(until)
        self._attempts.drain(until)

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
                await self._respond(call, failed("internal"), record)
            raise
        finally:
            self._telemetry.request(record, self._clock.now() - record.arrived)

    async def _reply(self, call: Call, record: Record) -> Passed | Answer | Gone:
        """The stages up to the answer."""
        request = self._route(call, record)
        if isinstance(request, Answer):
            return request
        tried = untried(request, self._key_bits)
        ticket = _ticket(request, tried.waited)
        body: Body | None = None
        try:
            if (outlived := self._attempts.heed_key(tried, ticket)) is not None:
                return outlived
            if call.has_body:
                kept = await self._admit(call, tried, ticket)
                if isinstance(kept, Answer | Gone):
                    return kept
                body = kept
                record.bytes_in = body.size if body else 0
                if call.gone:
                    return Gone.BODY
            if request.route.host is Host.IDENTITY:
                reached = await self._token(call, tried, ticket, body, record)
            else:
                reached = await self._attempts.all(call, tried, ticket, body)
            return self._conclude(call, tried, reached) if isinstance(reached, Ended) else reached
        finally:
            self._scheduler.leave(ticket)
            call.on_gone = None
            if body is not None:
                body.close()
            record.tried(tried)

    def _route(self, call: Call, record: Record) -> Request | Answer:
        terms = terms_of(call.fields, self._apps, via=self._policy.via)
        found = route(call.target, terms, self._families)
        if isinstance(found, str):
            return failed(found)
        record.routed(found)
        if not terms.utf8:
            return failed(
                "invalid_request", "The value of a field is not UTF-8, and nothing else can be sent on."
            )
        return request_of(
            record.id,
            record.arrived,
            call.method,
            call.target,
            call.fields,
            terms,
            found,
            self._policy.max_wait,
        )

    async def _admit(self, call: Call, tried: Tried, ticket: Ticket) -> Body | Answer | Gone | None:
        """Whoever has no hope need not upload; then the whole body in time, before any permit and any room in
        the line is taken. Without a body there is nothing to do before it must wait for a permit.
        """
        route = tried.request.route
        if route.limited and (refusal := self._scheduler.hopeless(ticket)):
            return self._attempts.refuse(tried, ticket, refusal)
        timer = self._clock.call_at(max(tried.request.deadline, ticket.prompt_until), call.late)
        try:
            kept = await call.keep_body(
                self._refreshes.bodies if route.host is Host.IDENTITY else self._bodies
            )
        finally:
            timer.cancel()
        if kept is BodyProblem.STORAGE:
            self._telemetry.shed("spool_full")
        return unkept(kept) if isinstance(kept, BodyProblem) else kept

    async def _token(
        self, call: Call, tried: Tried, ticket: Ticket, body: Body | None, record: Record
    ) -> Reached:
        """A request to the identity host, which may share a call with others that ask for the same."""

        async def attempts(caller: Recipient) -> Reached:
            return await self._attempts.all(caller, tried, ticket, body)

        form = bytes(body.in_memory or b"") if body else b""
        asked = token_request(call.method, call.target, call.fields, form)
        if asked is None:
            await self._refreshes.heed_revocation(call.method, call.target, form)
            return await attempts(call)
        record.app = asked.client
        return await self._refreshes.reach(call, tried, asked, attempts)

    def _conclude(self, call: Call, tried: Tried, ended: Ended) -> Passed | Answer | Gone:
        outcome = ended.outcome
        if call.gone:
            if isinstance(outcome, Response):
                outcome.close()
            return Gone.UPSTREAM
        if isinstance(outcome, Failure):
            return give_up(tried, outcome)
        now, wall = self._clock.now(), self._clock.wall()
        return pass_on(tried, outcome, ended.row, now, wall, self._policy.retry_after_max)

    async def _respond(self, call: Call, reply: Passed | Answer | Gone, record: Record) -> None:
        """Write the answer with its marks, and note what was sent."""
        left = call.gone
        if isinstance(reply, Gone) or left:
            record.concluded(CALLER_LEFT, CALLER_LEFT_STATUS)
            record.gone_at = reply if isinstance(reply, Gone) else Gone.RESPONSE
            self._telemetry.disconnect(record.gone_at)
            if isinstance(reply, Passed):
                reply.response.close()
            return
        record.concluded(reply.name, reply.status, reply.error)
        received = reply.status if isinstance(reply, Passed) else record.received
        waits = (record.queue_seconds, record.upstream_seconds, record.limit)
        own = marks(reply.name, record.sends, *waits, received, reply.error)
        if isinstance(reply, Answer):
            accept = call.fields.get(b"accept", b"")
            headers, body = written(reply, record.id, accept, self._policy.retry_after_max)
            dated = (date(self._clock.wall()), *headers, *own)
            record.bytes_out = await call.respond(reply.status, reason_phrase(reply.status), dated, body)
        else:
            response = reply.response
            rest = None if response.complete else response
            record.bytes_out = await call.respond(
                response.status,
                response.reason,
                (*reply.headers, *own),
                response.first,
                rest,
                declared=response.length,
            )
            if response.truncated:
                record.concluded("upstream_truncated", reply.status, "http_response_incomplete")
        if call.gone:
            record.gone_at = Gone.RESPONSE
            self._telemetry.disconnect(record.gone_at)


def _ticket(request: Request, waited: dict[str, float]) -> Ticket:
    route = request.route
    return Ticket(
        Ask.of(route.app, route.tenant, route.api),
        request.arrived,
        request.deadline,
        request.urgency,
        request.counts_as in PROBES,
        route.slow,
        waited,
    )
