"""The real pipeline without sockets: callers that are objects, and an upstream that is handed in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol, cast

from prometheus_client import CollectorRegistry

from config.apis import load_apis
from config.responses import load_responses
from config.values import LogLevel, TenantLabel
from proxy.clock import Clock
from proxy.core.answers.idempotency import Keys
from proxy.core.answers.retry import Backoff, Budgets
from proxy.core.limits.accounts import Caps
from proxy.core.limits.holds import HoldTimes
from proxy.core.line.lines import Waiting
from proxy.core.model import Failure, Headers
from proxy.core.wire.fields import Fields
from proxy.http.body import Body, BodyProblem, BodyStore, Late
from proxy.http.callers import Call
from proxy.http.flow import Lost
from proxy.http.response import Response, Truncated
from proxy.http.spool import SpoolFile
from proxy.http.upstream import Outbound, Upstream
from proxy.observe.log import Log
from proxy.observe.telemetry import Telemetry
from proxy.request.access import AccessMemory
from proxy.request.attempts import Attempts
from proxy.request.pipeline import Pipeline, Policy
from proxy.request.refreshes import Refreshes
from proxy.stores import Claims
from proxy.stores.memory import MemoryStore
from proxy.waiting.scheduler import Scheduler

APIS, TABLE = load_apis(), load_responses()
_NOWHERE = os.open(os.devnull, os.O_WRONLY)
SILENT = Log(lambda: 0.0, level=LogLevel.ERROR, descriptor=_NOWHERE)


def token(app: str = "app") -> bytes:
    """An unsigned bearer token of an app, as an `Authorization` value."""
    claims = base64.urlsafe_b64encode(json.dumps({"client_id": app}).encode()).rstrip(b"=")
    return b"Bearer e30." + claims + b".c2ln"


class FakeCall:
    """A caller's request with the interface of `proxy.http.callers.Call`; it keeps its answers."""

    def __init__(
        self,
        clock: Clock,
        method: str = "GET",
        target: bytes = b"/api.xro/2.0/Contacts",
        headers: Headers = (),
        body: bytes | None = None,
        upload: float = 0.0,
    ) -> None:
        self._clock = clock
        self.method = method
        self.target = target
        given = {name.lower() for name, _ in headers}
        usual = ((b"Authorization", token()), (b"Xero-Tenant-Id", b"t1"))
        self.fields = Fields((*(field for field in usual if field[0].lower() not in given), *headers))
        self.body = body
        self.upload = upload
        self.gone = False
        self.left_at: float | None = None
        self.on_gone: Callable[[], None] | None = None
        self.answers: list[Answered] = []
        self._pieces = [body] if body else []
        self._arriving = asyncio.Event()
        self._late = False

    @property
    def has_body(self) -> bool:
        return self.body is not None

    @property
    def answered(self) -> bool:
        return bool(self.answers)

    @property
    def answer(self) -> Answered:
        """The one answer."""
        (one,) = self.answers
        return one

    def leave(self) -> None:
        """Hang up."""
        if not self.gone:
            self.gone, self.left_at = True, self._clock.now()
            tell, self.on_gone = self.on_gone, None
            if tell is not None:
                tell()

    def late(self) -> None:
        """The deadline comes: the rest of the body is not waited for."""
        self._late = True
        self._arriving.set()

    async def keep_body(self, store: BodyStore) -> Body | BodyProblem | None:
        return None if self.body is None else await store.keep(self, len(self.body))

    async def read(self) -> bytes:
        """The body, after as long as its upload takes."""
        if not self._pieces:
            return b""
        timer = self._clock.call_at(self._clock.now() + self.upload, self._arriving.set)
        await self._arriving.wait()
        timer.cancel()
        if self.gone:
            raise Lost
        if self._late:
            raise Late
        return self._pieces.pop()

    async def respond(
        self,
        status: int,
        _reason: bytes,
        headers: Headers,
        body: bytes = b"",
        rest: Response | None = None,
        *,
        declared: int | None = None,
    ) -> int:
        del declared
        answered = Answered(status, headers, body, self._clock.now())
        self.answers.append(answered)
        try:
            while rest is not None and not self.gone and (piece := await rest.read()):
                answered.body += piece
        except Truncated:
            answered.cut = True
        if rest is not None:
            rest.close()
        return len(answered.body)


@dataclass
class Answered:
    """What a caller got, and when."""

    status: int
    headers: Headers
    body: bytes
    at: float
    cut: bool = False

    def field(self, name: bytes) -> bytes | None:
        return Fields(self.headers).get(name)

    @property
    def class_(self) -> bytes | None:
        return self.field(b"x-xero-proxy-class")

    @property
    def attempts(self) -> int:
        return int(self.field(b"x-xero-proxy-attempts") or b"-1")


class Sends(Protocol):
    """What stands for the network and Xero."""

    async def send(self, outbound: Outbound) -> Response | Failure: ...


def response(
    clock: Clock, status: int = 200, headers: Headers = (), body: bytes = b"", reason: bytes = b""
) -> Response:
    """A whole response whose head is read now."""
    return Response(status, reason, Fields(headers), first=body, length=len(body), head_at=clock.now())


class Coming:
    """What is to come of a body: `put` as it arrives, until its `end`."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, piece: bytes) -> None:
        self._pieces.put_nowait(piece)

    def end(self) -> None:
        self.put(b"")

    def drop(self) -> None:
        self._pieces.put_nowait(None)

    async def read(self) -> bytes:
        piece = await self._pieces.get()
        if piece is None:
            raise Truncated
        return piece


def streamed(clock: Clock, first: bytes, status: int = 200, headers: Headers = ()) -> tuple[Response, Coming]:
    """A response of which only `first` is here, and what is to come."""
    rest = Coming()
    fields, file = Fields(headers), SpoolFile()
    return Response(status, b"", fields, first, None, clock.now(), rest, file), rest


@dataclass
class Setup:
    """How the proxy is set up, other than as in production."""

    caps: Caps = field(default_factory=Caps)
    times: HoldTimes = field(default_factory=HoldTimes)
    waiting: Waiting = field(default_factory=Waiting)
    policy: Policy = field(default_factory=Policy)
    backoff: Backoff = field(default_factory=Backoff)
    share: float = 0.2
    single_flight: bool = True
    claims: Claims | None = None
    max_body: int = 1_000_000

    def attempts(self, attempts: int) -> Setup:
        return replace(self, backoff=Backoff(attempts))


class Proxy:
    """A pipeline with its scheduler, store and telemetry before some upstream."""

    def __init__(self, clock: Clock, upstream: Sends, setup: Setup | None = None, seed: int = 0) -> None:
        setup = setup or Setup()
        random = Random(seed)
        self.clock = clock
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry(self.registry, SILENT, TenantLabel.ID, "test")
        self.access = AccessMemory(self.telemetry, clock)
        self.refreshes = Refreshes(
            self.access, self.telemetry, TABLE, clock, setup.claims, single_flight=setup.single_flight
        )
        self.bodies = BodyStore(1_000_000, setup.max_body)
        self.store = MemoryStore(setup.caps, setup.times, clock, random)
        self.scheduler = Scheduler(
            self.store,
            clock,
            setup.waiting,
            observe=self.telemetry.hold_changed,
            foreign=lambda ask, calls: self.telemetry.foreign_calls(ask.tenant or "", calls),
        )
        attempts = Attempts(
            setup.backoff,
            table=TABLE,
            scheduler=self.scheduler,
            upstream=cast("Upstream", upstream),
            telemetry=self.telemetry,
            budgets=Budgets(setup.share),
            access=self.access,
            keys=Keys(),
            clock=clock,
            random=random,
            random_bits=random.randbytes,
        )
        self.pipeline = Pipeline(
            setup.policy,
            prefixes=APIS,
            scheduler=self.scheduler,
            attempts=attempts,
            bodies=self.bodies,
            telemetry=self.telemetry,
            refreshes=self.refreshes,
            clock=clock,
            random=random,
            random_bits=random.randbytes,
        )

    async def handle(self, call: FakeCall) -> FakeCall:
        """Let one call be handled to its end."""
        await self.pipeline.handle(cast("Call", call))
        return call

    def count(self, name: str, **labels: str) -> float:
        """The sum of a counter over all series with these labels."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == f"xero_proxy_{name}_total" and labels.items() <= sample.labels.items()
        )

    def is_idle(self) -> None:
        """Nothing is left of anybody."""
        snapshot = self.scheduler.snapshot()
        assert snapshot.waiting == 0
        assert [view.in_flight for view in snapshot.tenants if view.in_flight] == []
        assert [hold for hold in snapshot.holds if hold.probing] == []
        turns = self.scheduler._turns
        left = (self.scheduler._futures, turns._places, turns._rings, turns._parked)
        assert not any(left)
        assert self.bodies.in_memory == self.refreshes.bodies.in_memory == 0
        assert not self.refreshes._flights
