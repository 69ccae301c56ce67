"""The token endpoint: one call for all who refresh the same token at once.

A refresh token is spent by its use, so two processes that refresh at once, or a reply that is lost, are how
connections are lost. Requests for the same refresh therefore share one call and its answer. The call is
finished even if everybody who wanted it has left, and its answer is kept for a while, in memory alone, for
whoever asks again because the reply never arrived. An outcome that nobody knows is told to those who shared
the call and never kept: the next one to ask may try, as Xero honours the old token for half an hour. Once a
token is revoked, nothing that was answered for it or gave it is told any more, nor shared: Xero is asked.
Revoked tokens are known by hashes. Over Redis every replica knows them, as long as the server can be asked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from math import inf
from typing import Any

from proxy.clock import Clock
from proxy.core.answers.answers import Answer
from proxy.core.answers.classify import ResponseTable, beginning, classify
from proxy.core.answers.marks import without
from proxy.core.answers.tried import Tried
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import Access, Failure
from proxy.core.tokens.answer import TokenAnswer, pack, tokens_in, unpack
from proxy.core.tokens.remembered import Remembered
from proxy.core.tokens.request import FORM_BYTES, TokenRequest, refresh_key, revoked_tokens
from proxy.core.wire.fields import Fields
from proxy.http.body import BodyStore
from proxy.http.response import Response
from proxy.observe.telemetry import Telemetry
from proxy.request.access import AccessMemory
from proxy.request.attempt import Ended, Gone, Reached, Recipient
from proxy.request.replies import refuse
from proxy.stores import Claims

REVOKED_SECONDS = 600.0
"""Longer than any call that was under way then, and the time for which its answer is kept."""
REVOKED_MAX = 10_000
KEPT_SECONDS = 120.0
REFUSED_SECONDS = 10.0
"""A refused refresh token stays refused, but a crowd asks about it again."""
KEPT_MAX = 1000
KEPT_BYTES = 16 * 1024
"""No answer with tokens is nearly as large."""
TOKENS = b'"access_token"'
REFRESH = "refresh"
"""What a request is said to have waited for that shared a call."""


class Revocations:
    """Notes revocations, and says whether there was one."""

    def __init__(self, clock: Clock, claims: Claims | None) -> None:
        self._clock = clock
        self._claims = claims
        self._noted: Remembered[bool] = Remembered(REVOKED_MAX)

    async def note(self, names: Iterable[bytes]) -> None:
        """Somebody asks to revoke the tokens of these names; to be said before Xero is asked."""
        now = self._clock.now()
        self._noted.forget(now)
        for name in names:
            self._noted.keep(name, value=True, until=now + REVOKED_SECONDS)
            if self._claims is not None:
                await self._claims.revoke(name, REVOKED_SECONDS)

    async def any_of(self, names: Iterable[bytes]) -> bool:
        """Whether one of these was revoked of late."""
        for name in names:
            if self._noted.get(name, self._clock.now()):
                return True
            if self._claims is not None and await self._claims.revoked(name):
                return True
        return False


class Source(StrEnum):
    """Where the answer to a request for tokens came from."""

    UPSTREAM = "upstream"
    SHARED = "shared"
    """From a call that another request of this process made."""
    KEPT = "kept"
    REPLICA = "replica"


Send = Callable[[Recipient], Awaitable[Reached]]
"""Makes the attempts at a request, for as long as this caller wants the answer."""


class _Flight:
    """A call under way, and who wants its answer: `call`, who makes it, and those who wait for its end, of
    whom it counts how many. `ended` is None at its end where there is nothing to share.
    """

    def __init__(self, call: Recipient) -> None:
        self.ended: asyncio.Future[Ended | None] = asyncio.get_running_loop().create_future()
        self.waiting = 0
        self._call = call

    @property
    def gone(self) -> bool:
        """Whether all of them have left."""
        return self._call.gone and not self.waiting

    @property
    def on_gone(self) -> Callable[[], object] | None:
        """What to do when they have."""
        return self._call.on_gone

    @on_gone.setter
    def on_gone(self, callback: Callable[[], object] | None) -> None:
        self._call.on_gone = callback and (lambda: self.gone and callback())


class Refreshes:
    """Sends requests to the identity host, those for the same refresh together."""

    def __init__(
        self,
        access: AccessMemory,
        telemetry: Telemetry,
        table: ResponseTable,
        clock: Clock,
        claims: Claims | None = None,
        *,
        single_flight: bool = True,
    ) -> None:
        self.access = access
        self._telemetry = telemetry
        self._table = table
        self._clock = clock
        self._claims = claims
        self._revocations = Revocations(clock, claims)
        self._single_flight = single_flight
        self.bodies = BodyStore(FORM_BYTES, FORM_BYTES, memory_total=sys.maxsize)
        """Where bodies for the identity host are kept: never on disk."""
        self._flights: dict[bytes, _Flight] = {}
        self._claiming: set[asyncio.Future[bytes | None]] = set()
        self._drain_until = inf
        self._kept: Remembered[tuple[TokenAnswer, float]] = Remembered(KEPT_MAX)

    async def heed_revocation(self, method: str, target: bytes, body: bytes) -> None:
        """Note what a request asks to revoke, before Xero is asked."""
        await self._revocations.note(revoked_tokens(method, target, body))

    async def reach(self, call: Recipient, tried: Tried, asked: TokenRequest, send: Send) -> Reached:
        """How a request for tokens ended, by a call of its own (`send`) or another's."""
        if asked.secret is None or not self._single_flight:
            return await self._call(call, asked, send)
        return await self._share(call, tried, asked, asked.secret, send)

    def drain(self, until: float) -> None:
        """Let nobody wait for another replica's answer beyond `until`; whoever would is refused then."""
        self._drain_until = until
        for claim in self._claiming:
            self._clock.call_at(until, claim.cancel)

    async def close(self) -> None:
        """Tell the other replicas what they are not told yet."""
        if self._claims is not None:
            await self._claims.close()

    async def _share(
        self, call: Recipient, tried: Tried, asked: TokenRequest, secret: bytes, send: Send
    ) -> Reached:
        key = refresh_key(secret)
        while not call.gone:
            if await self._revocations.any_of(asked.spends):
                return await self._call(call, asked, send)
            now = self._clock.now()
            kept = self._kept.get(key, now)
            if kept is not None and not await self._revocations.any_of(tokens_in(kept[0].body)):
                answer, since = kept
                return self._told(tried, Source.KEPT, self._replayed(answer, now - since))
            flight = self._flights.get(key)
            if flight is None and now >= self._drain_until:
                break
            if flight is None:
                return await self._lead(call, tried, asked, secret, send)
            if not await self._join(call, tried, flight):
                break
            if (ended := flight.ended.result()) is not None:
                return self._told(tried, Source.SHARED, ended)
        return self._late(call, tried)

    async def _join(self, call: Recipient, tried: Tried, flight: _Flight) -> bool:
        """Wait for the end of another's call; False where the caller leaves or its time is over before."""
        flight.waiting += 1
        try:
            return await self._until(call, tried, asyncio.shield(flight.ended), tried.request.deadline)
        finally:
            flight.waiting -= 1

    async def _lead(
        self, call: Recipient, tried: Tried, asked: TokenRequest, secret: bytes, send: Send
    ) -> Reached:
        """Get the answer for all who want it, and let go of them whatever becomes of it."""
        key = refresh_key(secret)
        flight = self._flights[key] = _Flight(call)
        reached: Reached | None = None
        try:
            if self._claims is None:
                reached = await self._call_and_keep(flight, tried, asked, key, send)
            else:
                reached = await self._claim(flight, tried, asked, secret, send, self._claims)
        finally:
            del self._flights[key]
            flight.ended.set_result(reached if isinstance(reached, Ended) and reached.whole else None)
        return reached

    async def _claim(
        self,
        flight: _Flight,
        tried: Tried,
        asked: TokenRequest,
        secret: bytes,
        send: Send,
        claims: Claims,
    ) -> Reached:
        """Get the answer from another replica, or make the call for all of them."""
        claim = asyncio.ensure_future(claims.claim(secret))
        self._claiming.add(claim)
        claim.add_done_callback(self._claiming.discard)
        answer, seconds = None, 0.0
        try:
            end = min(tried.request.deadline, self._drain_until)
            if not await self._until(flight, tried, claim, end):
                return self._late(flight, tried)
            packed = claim.result()
            told = None if packed is None else unpack(packed)
            if told is not None and await self._revocations.any_of(tokens_in(told.body)):
                return await self._call(flight, asked, send)
            if told is not None:
                age = max(0.0, self._clock.wall() - told.at)
                ended = self._replayed(told, age)
                self.access.learn_of_client(asked, ended.row, told.status, self._clock.now() - age)
                return self._told(tried, Source.REPLICA, ended)
            reached = await self._call_and_keep(flight, tried, asked, refresh_key(secret), send)
            response, seconds = _lasting(reached)
            if response is not None:
                answer = pack(self._answer(response))
            return reached
        finally:
            claims.conclude(secret, answer, seconds)

    async def _call_and_keep(
        self, flight: _Flight, tried: Tried, asked: TokenRequest, key: bytes, send: Send
    ) -> Reached:
        tried.accept_no_coding()
        reached = await self._call(flight, asked, send)
        response, seconds = _lasting(reached)
        if response is not None:
            now = self._clock.now()
            until = now + seconds
            self._kept.keep(key, (self._answer(response), now), until)
            self._clock.call_at(until, lambda: self._kept.forget(until))
        return reached

    async def _call(self, caller: Recipient, asked: TokenRequest, send: Send) -> Reached:
        sent_at = self._clock.now()
        reached = await send(caller)
        if isinstance(reached, Ended):
            self._telemetry.token_answer(Source.UPSTREAM)
            if isinstance(reached.outcome, Response):
                self.access.learn_of_client(asked, reached.row, reached.outcome.status, sent_at)
        return reached

    async def _until(self, caller: Recipient, tried: Tried, done: asyncio.Future[Any], end: float) -> bool:
        """Wait for `done`; cancel it and say False where the caller leaves or `end` comes before."""

        def stop() -> None:
            done.cancel()

        caller.on_gone = stop
        timer = self._clock.call_at(end, stop)
        began = self._clock.now()
        try:
            await asyncio.wait((done,))
        finally:
            timer.cancel()
            stop()
        tried.wait(REFRESH, self._clock.now() - began)
        return not done.cancelled()

    def _late(self, caller: Recipient, tried: Tried) -> Answer | Gone:
        """The answer to a request that cannot wait any longer."""
        if caller.gone:
            return Gone.QUEUE
        now = self._clock.now()
        why = Why.DRAINING if now >= self._drain_until else Why.DEADLINE
        return refuse(tried, Refusal(why, "", now), now, self._clock.wall())

    def _told(self, tried: Tried, source: Source, ended: Ended) -> Ended:
        """What another request's call brought, as the end of this one."""
        self._telemetry.token_answer(source)
        tried.told(ended.row)
        return ended

    def _answer(self, response: Response) -> TokenAnswer:
        wall = self._clock.wall()
        return TokenAnswer(response.status, response.reason, response.fields.raw, response.first, wall)

    def _replayed(self, answer: TokenAnswer, seconds: float) -> Ended:
        """An answer that was kept for so long, with its age (RFC 9111, section 5.1)."""
        age = (b"Age", b"%d" % seconds)
        fields = Fields((*without(answer.headers, b"age"), age))
        body = answer.body
        now = self._clock.now()
        response = Response(answer.status, answer.reason, fields, first=body, length=len(body), head_at=now)
        return Ended(response, classify(self._table, answer.status, fields, body, "token"))


def _lasting(reached: Reached) -> tuple[Response | None, float]:
    """The response and how long it stays right; None where it might not be the same a moment later."""
    if not isinstance(reached, Ended) or isinstance(reached.outcome, Failure):
        return None, 0.0
    response = reached.outcome
    if not response.complete or len(response.first) > KEPT_BYTES:
        return None, 0.0
    if reached.row.access is Access.DISCONNECTED:
        return response, REFUSED_SECONDS
    tokens = 200 <= response.status < 300 and TOKENS in beginning(response.fields, response.first)
    return (response, KEPT_SECONDS) if tokens else (None, 0.0)
