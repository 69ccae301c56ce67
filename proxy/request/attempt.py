"""One attempt: send → classify → settle.

An attempt is finished and accounted for whatever becomes of its caller. Its permit is settled exactly once,
when it is known what the answer means, and released when upstream has delivered the whole body. What an
answer means counts as soon as that is known, be its last byte yet to come: its hold begins or ends and its
limits are learned, so that the others need not wait for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

from proxy.clock import Clock, Timer
from proxy.core.answers.answers import Answer
from proxy.core.answers.classify import ResponseTable, classify, failure_class, foresee
from proxy.core.answers.tried import Tried
from proxy.core.limits.decision import Permit, Settlement
from proxy.core.model import Execution, Failure, ResponseClass
from proxy.core.wire.fields import Fields
from proxy.core.wire.response_headers import left_after, pause_seconds
from proxy.http.body import Body
from proxy.http.response import Response
from proxy.http.upstream import Outbound, Upstream
from proxy.request.access import AccessMemory
from proxy.waiting.scheduler import Scheduler

KNOWN_SECONDS = 60.0
"""For so long a failure to connect says how it is: within that time one request tries again, here or
elsewhere.
"""
REST_SECONDS = 0.05
"""An answer whose rest comes within this time is accounted for once, when all of it is there."""


class Recipient(Protocol):
    """Who wants the answer: `on_gone` is called when nobody does any more."""

    @property
    def gone(self) -> bool:
        """Whether nobody does."""

    on_gone: Callable[[], object] | None


class Gone(StrEnum):
    """In which stage the caller left, so that there is nobody to be answered."""

    BODY = "body"
    QUEUE = "queue"
    UPSTREAM = "upstream"
    RESPONSE = "response"


@dataclass(slots=True)
class Ended:
    """How an attempt ended, after how long; `retry_after` is the response's, in seconds."""

    outcome: Response | Failure
    row: ResponseClass
    retry_after: float | None = None
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether all of it is known."""
        return isinstance(self.outcome, Failure) or self.outcome.complete


Reached = Ended | Answer | Gone
"""How the attempts at a request ended, or the answer where it was refused before or between them."""


class Sender:
    """Makes attempts and accounts for them."""

    def __init__(
        self,
        upstream: Upstream,
        scheduler: Scheduler,
        table: ResponseTable,
        access: AccessMemory,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._scheduler = scheduler
        self._table = table
        self._access = access
        self._clock = clock
        self._unreached: tuple[Failure, float] | None = None

    def trouble(self) -> Failure | None:
        """Why Xero's API host cannot be reached, where that is the last thing known of it, and new."""
        if self._unreached is None:
            return None
        failure, at = self._unreached
        return failure if self._clock.now() - at < KNOWN_SECONDS else None

    async def attempt(
        self, caller: Recipient, tried: Tried, permit: Permit | None, body: Body | None, deadline: float
    ) -> Ended:
        """Send once, before `deadline`, and learn from what comes back. The permit, where limits apply, is
        returned or is sure to be at the end; where there is none, `break_off` is to follow.
        """
        began = self._clock.now()
        outcome = await self._send(caller, tried, permit, body, deadline)
        row = self._classify(tried.request.route.api, outcome)
        ended = Ended(outcome, row, seconds=self._clock.now() - began)
        if isinstance(outcome, Response):
            settlement = _learned(tried, row, outcome.fields, outcome.head_at, self._clock.wall())
            ended.retry_after = settlement.retry_after
        else:
            settlement = Settlement(row, outcome.sent, self._clock.now(), again=tried.broke)
        if permit is not None:
            self._note_reach(outcome, row)
            self._access.learn(tried.request, row, began)
            if not permit.settled:
                await self._scheduler.settle(permit, settlement, ended=ended.whole)
        if isinstance(outcome, Response) and not outcome.complete:
            outcome.read_ahead(lambda: self._release(permit))
        else:
            self._release(permit)
        return ended

    async def break_off(self, permit: Permit) -> None:
        """Return the permit of an attempt that did not come to its end: it failed here, or was cut at
        shutdown. What was sent may have reached Xero.
        """
        if not permit.settled:
            lost = failure_class(self._table, "upstream_reset")
            await self._scheduler.settle(permit, Settlement(lost, True, self._clock.now()))
        self._release(permit)

    async def _send(
        self, caller: Recipient, tried: Tried, permit: Permit | None, body: Body | None, deadline: float
    ) -> Response | Failure:
        request, hearing = tried.request, None
        if permit is not None:
            hearing = _Hearing(self._table, self._clock, self._scheduler, tried, permit)
            if permit.probes:
                caller.on_gone = partial(self._scheduler.let_go, permit)
                if caller.gone:
                    self._scheduler.let_go(permit)
        outbound = Outbound(
            request.route.host,
            request.method,
            request.target,
            tried.headers,
            body,
            tried.key_ends(),
            None if hearing is None else hearing.heard,
            deadline,
        )
        try:
            return await self._upstream.send(outbound)
        finally:
            if hearing is not None:
                hearing.close()

    def _release(self, permit: Permit | None) -> None:
        if permit is not None:
            self._scheduler.release(permit)

    def _note_reach(self, outcome: Response | Failure, row: ResponseClass) -> None:
        if row.execution is not Execution.NEVER_SENT:
            self._unreached = None
        elif isinstance(outcome, Failure) and row.hold is not None:
            self._unreached = outcome, self._clock.now()

    def _classify(self, api: str, outcome: Response | Failure) -> ResponseClass:
        if isinstance(outcome, Failure):
            return failure_class(self._table, outcome.name)
        return classify(self._table, outcome.status, outcome.fields, outcome.first, api, kept=outcome.kept)


class _Hearing:
    """Listens to one answer that comes piece by piece, and settles the permit early."""

    __slots__ = ("_clock", "_permit", "_scheduler", "_settling", "_table", "_timer", "_tried")

    def __init__(
        self, table: ResponseTable, clock: Clock, scheduler: Scheduler, tried: Tried, permit: Permit
    ) -> None:
        self._table = table
        self._clock = clock
        self._scheduler = scheduler
        self._tried = tried
        self._permit = permit
        self._timer: Timer | None = None
        self._settling: asyncio.Task[None] | None = None

    def heard(self, status: int, fields: Fields, first: bytes, head_at: float) -> bool | None:
        """As `Heard`. What says that nothing was done is not waited for to its end."""
        row = foresee(self._table, status, fields, first, self._tried.request.route.api)
        if row is None:
            return None
        if row.execution is Execution.REJECTED:
            return True
        due = partial(self._begin, row, fields, head_at)
        self._timer = self._clock.call_at(self._clock.now() + REST_SECONDS, due)
        return False

    def close(self) -> None:
        """Account for nothing that is not accounted for yet."""
        if self._timer is not None:
            self._timer.cancel()
        if self._settling is not None:
            self._settling.cancel()

    def _begin(self, row: ResponseClass, fields: Fields, head_at: float) -> None:
        settlement = _learned(self._tried, row, fields, head_at, self._clock.wall())
        self._settling = asyncio.ensure_future(self._scheduler.settle(self._permit, settlement, ended=False))


def _learned(tried: Tried, row: ResponseClass, fields: Fields, head_at: float, wall: float) -> Settlement:
    retry_after = pause_seconds(fields, row, wall) if b"retry-after" in fields else None
    return Settlement(row, True, head_at, left_after(fields, row), retry_after, tried.broke)
