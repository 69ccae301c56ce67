"""What the project promises, for any callers, any network, any clock and any faults.

Everything between a caller's request and the network is real; Xero is the simulator's core, which keeps a
ledger. Time is virtual.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.wire.fields import Fields
from proxy.request.pipeline import Policy
from proxy.simulator.faults import FAILURES, Fault, FaultKind
from proxy.simulator.windows import WindowKind
from tests.inprocess import FakeCall, Proxy, Setup, token
from tests.network import Network, Shape
from tests.watched import DUST, WatchedLoop, run_watched


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: when it comes (seconds from the start), whose it is, and how its caller behaves.

    `leaves` is after how many seconds the caller hangs up, `upload` how long its body takes.
    """

    at: float
    app: str
    tenant: str
    method: str
    path: str
    wait: float | None
    urgency: int
    leaves: float | None
    upload: float
    keyed: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong at `at`: a fault of the simulator, an outage, or refused connections."""

    at: float
    kind: str
    tenant: str
    method: str | None
    times: int
    seconds: float
    executed: bool


MOST_ATTEMPTS = 60
"""Of a request that waits ten minutes at most: what a hold explains and what was never sent is repeated to
its deadline, with a backoff.
"""


class World:
    """One run: the proxy, the network, and what every caller saw."""

    def __init__(self, clock: Clock, shape: Shape, seed: int, *, idempotency: bool, share: float) -> None:
        self.shape = shape
        self.clock = clock
        self.start = clock.now()
        self.network = Network(clock, shape, seed)
        caps = Caps(shape.minute, 60.0, 5000, shape.concurrent, shape.app_minute)
        setup = Setup(caps=caps, policy=Policy(idempotency=idempotency), share=share)
        self.proxy = Proxy(clock, self.network, setup, seed)
        self.calls: list[tuple[Visit, FakeCall]] = []

    async def run(self, crowd: list[Visit], troubles: list[Trouble]) -> None:
        """All visits to their end."""
        for trouble in troubles:
            self.clock.call_at(self.start + trouble.at, lambda trouble=trouble: self._make(trouble))  # type: ignore[misc]  # binds the loop's variable
        await asyncio.gather(*(self._visit(number, visit) for number, visit in enumerate(crowd)))
        await self.network.silence()
        await self.clock.sleep_until(self.clock.now() + 1.0)

    async def _visit(self, number: int, visit: Visit) -> None:
        await self.clock.sleep_until(self.start + visit.at)
        call = self._call(number, visit)
        self.calls.append((visit, call))
        if visit.leaves is not None:
            self.clock.call_at(self.clock.now() + visit.leaves, call.leave)
        await self.proxy.handle(call)

    def _call(self, number: int, visit: Visit) -> FakeCall:
        headers = [
            (b"Authorization", token(visit.app)),
            (b"Xero-Tenant-Id", visit.tenant.encode()),
            (b"Priority", b"u=%d" % visit.urgency),
        ]
        if visit.wait is not None:
            headers.append((b"Prefer", b"wait=%d" % visit.wait))
        if visit.keyed:
            headers.append((b"Idempotency-Key", b"own-%d" % number))
        body = b'{"Name":"visit %d"}' % number if visit.method in {"PUT", "POST", "PATCH"} else None
        target = visit.path.encode() + b"?visit=%d" % number
        call = FakeCall(self.clock, visit.method, target, (), body, visit.upload)
        call.fields = Fields(tuple(headers))
        return call

    def _make(self, trouble: Trouble) -> None:
        faults, until = self.network.xero.faults, self.network.now() + trouble.seconds
        match trouble.kind:
            case "offline":
                faults.offline(trouble.tenant, until)
            case "maintenance":
                faults.maintenance(until)
            case "unavailable":
                faults.unavailable(until)
            case "refused":
                self.network.refusing_until = self.clock.now() + trouble.seconds
            case "expired":
                self.network.xero.expire_tokens(self.network.now())
            case "foreign":
                self.network.xero.foreign_rate(trouble.tenant, 3.0 * trouble.times, self.network.now(), "a")
            case kind:
                fault = Fault(FaultKind(kind), trouble.tenant, trouble.method, trouble.executed)
                faults.fail_next(trouble.times, fault)

    # --- what must hold

    def kept_to_the_limits(self) -> None:
        for whose, peak in self.network.peaks.items():
            if whose[1] != b"(no tenant)":
                assert self.network.most_in_a_minute(whose) <= self.shape.minute
                assert peak <= self.shape.concurrent

    def everything_ended(self) -> None:
        self.proxy.is_idle()
        assert self.network.xero.in_progress() == 0
        assert self.proxy.count("requests") == len(self.calls)

    def each_was_answered_once_and_in_time(self) -> None:
        for visit, call in self.calls:
            sent = self.network.sent[call.target]
            assert len(call.answers) == 1 or (call.gone and not call.answers)
            came = self.start + visit.at
            deadline = max(came + (120.0 if visit.wait is None else visit.wait), came + visit.upload)
            assert all(attempt.began <= deadline + DUST for attempt in sent)
            assert all(attempt.began <= (call.left_at or attempt.began) for attempt in sent)
            if call.answers:
                last = max((attempt.ended for attempt in sent), default=0.0)
                assert call.answer.at <= max(deadline, last) + DUST
                assert call.answer.attempts <= len(sent) <= MOST_ATTEMPTS
                is_well_formed(call)

    def no_write_was_executed_twice(self) -> None:
        doubled = [write for write in self.network.xero.ledger.duplicates() if write.method != "DELETE"]
        assert doubled == []


def is_well_formed(call: FakeCall) -> None:
    answer = call.answer
    names = Counter(name.lower() for name, _ in answer.headers)
    for mark in (b"proxy-status", b"x-xero-proxy-class", b"x-xero-proxy-attempts", b"server-timing"):
        assert names[mark] == 1
    wait = answer.field(b"retry-after")
    assert wait is None or 1 <= int(wait) <= 300
    if answer.class_ == b"outcome_unknown":
        assert call.method in {"PUT", "POST", "PATCH"}
        assert wait is None
        assert answer.status in {502, 504}


APPS = ("a", "a", "b")
TENANTS = ("t1", "t1", "t2", "t3", "")
METHODS = ("GET", "GET", "PUT", "POST", "DELETE")
PATHS = ("/api.xro/2.0/Contacts", "/api.xro/2.0/Invoices", "/files.xro/1.0/Files", "/connections")
WAITS = (None, None, 0.0, 1.0, 30.0, 200.0, 600.0)
LEAVES = (None, None, None, 0.0, 0.1, 1.0, 7.0, 61.0)
UPLOADS = (0.0, 0.0, 0.0, 2.0)
KINDS = (
    *(str(kind) for kind in FaultKind if not FAILURES[kind].limit),
    *("offline", "maintenance", "unavailable", "refused", "expired"),
)
"""A 429 that is played without a limit being spent would count as one of our own."""


def storm(count: int, span: float, seed: int) -> list[Visit]:
    """`count` visits at random within `span` seconds."""
    random = Random(seed)
    return [
        Visit(
            at=random.uniform(0.0, span),
            app=random.choice(APPS),
            tenant=random.choice(TENANTS),
            method=random.choice(METHODS),
            path=random.choice(PATHS),
            wait=random.choice(WAITS),
            urgency=random.randrange(8),
            leaves=random.choice(LEAVES),
            upload=random.choice(UPLOADS),
            keyed=random.random() < 0.5,
        )
        for _ in range(count)
    ]


some_seconds = st.sampled_from((0.0, 0.05, 0.3, 1.0, 5.0))
visits = st.builds(
    Visit,
    at=st.integers(0, 300).map(lambda halves: halves / 2),
    app=st.sampled_from(APPS),
    tenant=st.sampled_from(TENANTS),
    method=st.sampled_from(METHODS),
    path=st.sampled_from(PATHS),
    wait=st.sampled_from(WAITS),
    urgency=st.integers(0, 7),
    leaves=st.sampled_from(LEAVES),
    upload=st.sampled_from(UPLOADS),
    keyed=st.booleans(),
)
groups = st.tuples(visits, st.integers(1, 8)).map(lambda pair: [pair[0]] * pair[1])
crowds = st.lists(groups, min_size=1, max_size=8).map(
    lambda many: [visit for group in many for visit in group]
)
storms = st.builds(storm, st.integers(20, 150), st.sampled_from((1.0, 60.0, 300.0)), st.integers(0, 2**32))


def troubles(*more: str) -> st.SearchStrategy[list[Trouble]]:
    trouble = st.builds(
        Trouble,
        at=st.integers(0, 300).map(lambda halves: halves / 2),
        kind=st.sampled_from((*KINDS, *more)),
        tenant=st.sampled_from(("t1", "t2", "t3")),
        method=st.sampled_from((None, "GET", "PUT", "POST")),
        times=st.integers(1, 6),
        seconds=st.sampled_from((0.5, 5.0, 40.0, 250.0)),
        executed=st.booleans(),
    )
    return st.lists(trouble, max_size=8)


shapes = st.builds(
    Shape,
    minute=st.sampled_from((1, 2, 5, 20)),
    concurrent=st.integers(1, 5),
    app_minute=st.sampled_from((2, 12, 1000)),
    windows=st.sampled_from(WindowKind),
    latency=some_seconds,
    jitter=some_seconds,
    large=st.sampled_from((0.0, 0.5)),
    offset=st.sampled_from((0.0, 17.3, 1e6)),
    drift=st.sampled_from((0.0, 4e-4, -4e-4)),
)
shares = st.sampled_from((0.2, 1.0))
EXAMPLES = settings().max_examples
seeds = st.integers(0, 2**16)


async def live(world: World, crowd: list[Visit], trouble: list[Trouble]) -> World:
    await world.run(crowd, trouble)
    world.everything_ended()
    world.kept_to_the_limits()
    world.each_was_answered_once_and_in_time()
    world.no_write_was_executed_twice()
    return world


@given(shapes, crowds | storms, troubles(), st.booleans(), shares, seeds)
@settings(max_examples=2 * EXAMPLES)
def test_alone_on_the_limits_not_one_429_is_earned_and_nothing_is_lost_late_or_doubled(
    shape: Shape, crowd: list[Visit], trouble: list[Trouble], idempotency: bool, share: float, seed: int
) -> None:
    async def main(loop: WatchedLoop) -> World:
        world = World(Clock(loop), shape, seed, idempotency=idempotency, share=share)
        return await live(world, crowd, trouble)

    world = run_watched(main)
    assert world.network.xero.ledger.refused == {}
    assert world.proxy.count("foreign_calls") == 0


@given(shapes, crowds | storms, troubles("foreign"), seeds)
@settings(max_examples=EXAMPLES // 2)
def test_beside_others_429s_are_few_and_all_else_still_holds(
    shape: Shape, crowd: list[Visit], trouble: list[Trouble], seed: int
) -> None:
    async def main(loop: WatchedLoop) -> World:
        world = World(Clock(loop), shape, seed, idempotency=True, share=0.2)
        return await live(world, crowd, trouble)

    run_watched(main)
