"""The memory store is `Limits` with the process's clock, and never suspends."""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

from proxy.clock import Clock
from proxy.core.accounts import Caps
from proxy.core.holds import HoldAction, HoldTimes
from proxy.core.limits import Ask, Denial, Forecast, Permit, Settlement
from proxy.core.model import HoldKey, HoldView, Limit, Remaining, Scope
from proxy.stores import Store
from proxy.stores.memory import MemoryStore
from tests.fakes import VirtualLoop
from tests.strict_xero import MAINTENANCE, OFFLINE, OK

T = TypeVar("T")
ASK = Ask("app", "tenant", "accounting")


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it suspended")


class Stand:
    def __init__(self, caps: Caps | None = None, seed: int = 0) -> None:
        self.loop = VirtualLoop()
        self.loop.close()
        self.clock = Clock(self.loop)
        self.store: Store = MemoryStore(caps or Caps(), HoldTimes(), self.clock, Random(seed))

    @property
    def now(self) -> float:
        return self.clock.now()

    def pass_seconds(self, seconds: float) -> None:
        self.loop._jumping.now += seconds

    def permit(self) -> Permit:
        permit = at_once(self.store.acquire(ASK))
        assert isinstance(permit, Permit)
        return permit


def test_a_permit_is_dated_by_the_clock_and_charged_at_once() -> None:
    stand = Stand(Caps(minute=2))
    stand.pass_seconds(7.0)
    assert stand.permit().granted_at == stand.now
    stand.permit()
    assert at_once(stand.store.acquire(ASK)) == Denial(Limit.MINUTE, None)


def test_a_place_is_free_a_window_after_the_answer() -> None:
    stand = Stand(Caps(minute=1))
    permit = stand.permit()
    stand.pass_seconds(1.0)
    effects = at_once(stand.store.settle(permit, Settlement(OK, True, stand.now, Remaining(minute=0))))
    assert (effects.holds, effects.foreign) == ((), 0)
    denial = at_once(stand.store.acquire(ASK))
    assert isinstance(denial, Denial)
    assert denial.until is not None
    assert stand.store.forecast(ASK, 0) == Forecast(Limit.MINUTE, denial.until)
    stand.pass_seconds(denial.until - stand.now - 0.01)
    assert isinstance(at_once(stand.store.acquire(ASK)), Denial)
    stand.pass_seconds(0.02)
    stand.permit()


def test_calls_of_others_are_revealed() -> None:
    stand = Stand()
    permit = stand.permit()
    stand.pass_seconds(1.0)
    settlement = Settlement(OK, True, stand.now, Remaining(minute=39))
    assert at_once(stand.store.settle(permit, settlement)).foreign == 20


def test_a_hold_begins_is_seen_and_is_cleared() -> None:
    stand = Stand()
    permit = stand.permit()
    (change,) = at_once(stand.store.settle(permit, Settlement(OFFLINE, True, stand.now))).holds
    key = HoldKey(Scope.TENANT, app="app", tenant="tenant")
    assert (change.action, change.key, change.until) == (HoldAction.BEGUN, key, stand.now + 300.0)
    stand.pass_seconds(100.0)
    tenants, apps, holds = stand.store.view()
    assert [view.tenant for view in tenants] == ["tenant"]
    assert [view.app for view in apps] == ["app"]
    assert holds == (HoldView(key, "offline", 200.0, probing=False),)
    cleared = at_once(stand.store.clear(key))
    assert cleared is not None
    assert cleared.action is HoldAction.CLEARED
    assert at_once(stand.store.clear(key)) is None
    stand.permit()


def test_the_jitter_of_a_backoff_is_the_stores_randomness() -> None:
    def backoff(seed: int) -> float:
        stand = Stand(seed=seed)
        permit = stand.permit()
        (change,) = at_once(stand.store.settle(permit, Settlement(MAINTENANCE, True, stand.now))).holds
        return change.until - stand.now

    assert backoff(1) == backoff(1)
    assert len({backoff(seed) for seed in range(5)}) == 5
    assert all(0.25 <= backoff(seed) <= 0.5 for seed in range(5))
