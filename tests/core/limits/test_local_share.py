"""What a replica does alone: its part of each limit, so that all together stay within it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.accounts import Caps
from proxy.core.limits.day import ASK_AGAIN_SECONDS
from proxy.core.limits.decision import CONCURRENT, Denial, Limits, Permit, Settlement
from proxy.core.limits.sharing import LocalShare
from proxy.core.model import Limit, Remaining
from tests.core.holding import KEYS
from tests.core.permits import NEVER_SENT, NOBODY, OK, SPAN, T1, T2, about, answered, call, make

CAPS = Caps(minute=8, day=100, concurrent=4, app_minute=12)


def share(limits: Limits, replicas: int = 2, caps: Caps = CAPS) -> LocalShare:
    return LocalShare(limits, caps, replicas)


def test_it_sends_its_part_of_the_concurrency() -> None:
    own = share(make(CAPS))
    assert all(isinstance(own.acquire(T1, 0.0), Permit) for _ in range(2))
    assert own.acquire(T1, 0.0) == CONCURRENT


def test_it_sends_its_part_of_the_minute() -> None:
    limits = make(CAPS)
    own = share(limits)
    for _ in range(4):
        permit = own.acquire(T1, 1.0)
        assert isinstance(permit, Permit)
        answered(limits, permit, 1.0)
    assert own.acquire(T1, 2.0) == Denial(Limit.MINUTE, about(1.0 + SPAN))
    assert isinstance(own.acquire(T1, 1.01 + SPAN), Permit)


def test_where_only_a_response_can_tell_when_no_time_is_told() -> None:
    limits = make(Caps(minute=2, concurrent=4))
    own = share(limits, 2, Caps(minute=2, concurrent=4))
    assert isinstance(own.acquire(T1, 0.0), Permit)
    assert own.acquire(T1, 0.0) == Denial(Limit.MINUTE, None)


def test_it_sends_its_part_of_the_apps_minute() -> None:
    limits = make(CAPS)
    own = share(limits, 4)
    call(limits, T1, 0.0)
    call(limits, T2, 0.0)
    call(limits, NOBODY, 0.0)
    assert own.acquire(NOBODY, 1.0) == Denial(Limit.APP_MINUTE, about(SPAN))
    assert own.acquire(T1, 1.0) == Denial(Limit.APP_MINUTE, about(SPAN))
    assert isinstance(own.acquire(NOBODY, SPAN + 0.1), Permit)


def test_it_sends_its_part_of_what_is_left_of_the_day() -> None:
    limits = make(CAPS)
    call(limits, T1, 0.0, Remaining(day=5))
    own = share(limits)
    for second in (70.0, 140.0):
        permit = own.acquire(T1, second)
        assert isinstance(permit, Permit)
        answered(limits, permit, second, remaining=Remaining(day=4))
    assert own.acquire(T1, 210.0) == Denial(Limit.DAY, 70.0 + ASK_AGAIN_SECONDS)
    assert isinstance(own.acquire(T1, 70.0 + ASK_AGAIN_SECONDS), Permit)


@pytest.mark.parametrize("replicas", [5, 1000])
def test_it_always_sends_something(replicas: int) -> None:
    own = share(make(CAPS), replicas)
    assert isinstance(own.acquire(T1, 0.0), Permit)


def test_it_keeps_to_what_others_were_seen_to_use() -> None:
    limits = make(CAPS)
    call(limits, T1, 0.0, Remaining(minute=0))
    assert isinstance(share(limits).acquire(T1, 1.0), Denial)


def test_what_a_server_granted_before_is_part_of_it() -> None:
    limits = make(CAPS)
    for _ in range(4):
        permit = Permit(limits.number(), T1, KEYS, 0.0)
        limits.charge(permit)
        answered(limits, permit, 0.5)
    assert share(limits).acquire(T1, 1.0) == Denial(Limit.MINUTE, about(0.5 + SPAN))


@dataclass(slots=True)
class Fleet:
    """Replicas whose server is gone at `fall`; until then any of them may have taken any of the places."""

    caps: Caps
    limits: list[Limits]
    random: Random
    sent: list[tuple[float, bool]] = field(default_factory=list)
    in_flight: list[tuple[int, Permit]] = field(default_factory=list)
    most: int = 0

    def before(self, now: float, calls: int) -> None:
        """Calls that the server granted, whose responses have come."""
        for _ in range(calls):
            limits = self.random.choice(self.limits)
            permit = Permit(limits.number(), T1, KEYS, now)
            limits.charge(permit)
            answered(limits, permit, now)
            self.sent.append((now, False))

    def alone(self, began: float, steps: int) -> None:
        shares = [LocalShare(limits, self.caps, len(self.limits)) for limits in self.limits]
        now = began
        for _ in range(steps):
            now += self.random.choice((0.0, 0.1, 1.0, 9.0))
            place = self.random.randrange(len(shares))
            permit = shares[place].acquire(T1, now)
            if isinstance(permit, Permit):
                self.in_flight.append((place, permit))
                self.most = max(self.most, len(self.in_flight))
            while self.in_flight and self.random.random() < 0.4:
                self._answer(now)

    def _answer(self, now: float) -> None:
        place, permit = self.in_flight.pop(self.random.randrange(len(self.in_flight)))
        if self.random.random() < 0.1:
            self.limits[place].settle(permit, Settlement(NEVER_SENT, False, now), now, 0.5)
            return
        arrived = self.random.uniform(permit.granted_at, now)
        self.sent.append((arrived, True))
        counted = sum(now - 60.0 < at <= arrived for at, _ in self.sent)
        remaining = Remaining(minute=max(0, self.caps.minute - counted))
        self.limits[place].settle(permit, Settlement(OK, True, now, remaining), now, 0.5)

    def most_in_any_minute(self, *, alone: bool) -> int:
        times = sorted(at for at, own in self.sent if own or not alone)
        return max((bisect_left(times, at + 60.0) - place for place, at in enumerate(times)), default=0)


@given(st.integers(1, 8), st.integers(1, 24), st.integers(1, 8), st.integers(0, 2**32))
def test_all_parts_together_are_within_the_limit(
    replicas: int, minute: int, concurrent: int, seed: int
) -> None:
    random = Random(seed)
    caps = Caps(minute=minute, concurrent=concurrent, app_minute=10_000, day=10_000)
    fleet = Fleet(caps, [make(caps) for _ in range(replicas)], random)
    before = random.randint(0, minute)
    fleet.before(0.0, before)
    fleet.alone(random.choice((0.0, 1.0, 30.0)), 120)
    allowed = max(minute, replicas)
    assert fleet.most_in_any_minute(alone=True) <= allowed
    assert fleet.most_in_any_minute(alone=False) <= allowed + before
    assert fleet.most <= max(concurrent, replicas)
