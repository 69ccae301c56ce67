"""Holds that began, changed or ended in another process."""

from __future__ import annotations

import pytest

from proxy.core.limits.decision import Ask, Denial, Permit
from proxy.core.limits.holds import HoldAction, HoldChange, Holds, HoldTimes
from proxy.core.model import HoldKey, HoldView, Remaining, Scope
from tests.core.holding import KEYS
from tests.core.permits import CAPS, NOBODY, T1, answered, call, granted, make, state

TENANT = HoldKey(Scope.TENANT, app="app", tenant="t1")
API = HoldKey(Scope.API, api="accounting")


def change(action: HoldAction, until: float = 10.0, *, probe: bool = True) -> HoldChange:
    return HoldChange(action, TENANT, "offline", until, probe)


@pytest.fixture
def holds() -> Holds:
    return Holds(HoldTimes())


def test_a_hold_that_began_elsewhere_stops_calls_here(holds: Holds) -> None:
    holds.follow(change(HoldAction.BEGUN), 0.0)
    assert tuple(holds.each(1.0)) == (HoldView(TENANT, "offline", 9.0, False),)
    holds.follow(change(HoldAction.EXTENDED, 20.0), 1.0)
    assert tuple(holds.each(1.0)) == (HoldView(TENANT, "offline", 19.0, False),)


def test_a_hold_that_is_not_probed_ends_by_itself(holds: Holds) -> None:
    holds.follow(change(HoldAction.BEGUN, probe=False), 0.0)
    assert tuple(holds.each(10.0)) == ()


@pytest.mark.parametrize("action", [HoldAction.ENDED, HoldAction.CLEARED])
def test_a_hold_that_ended_elsewhere_stops_nobody(holds: Holds, action: HoldAction) -> None:
    holds.follow(change(HoldAction.BEGUN), 0.0)
    holds.follow(change(action), 1.0)
    holds.follow(change(action), 1.0)
    assert not holds.active


def test_a_probe_that_brought_nothing_elsewhere_lets_another_go(holds: Holds) -> None:
    holds.follow(change(HoldAction.INCONCLUSIVE), 0.0)
    holds.follow(change(HoldAction.BEGUN), 0.0)
    holds.probe((TENANT,), 1, 10.5)
    assert holds.blocking((TENANT,), 11.0)
    holds.follow(change(HoldAction.INCONCLUSIVE), 11.0)
    assert holds.blocking((TENANT,), 11.0) is None


def test_exactly_the_holds_that_there_are_elsewhere_are_taken_over(holds: Holds) -> None:
    holds.follow(change(HoldAction.BEGUN), 0.0)
    holds.probe((TENANT,), 7, 5.0)
    views = [HoldView(TENANT, "offline", 2.0, True), HoldView(API, "maintenance", 3.0, False, probe=False)]
    holds.mirror(views, 5.0)
    assert list(holds.each(5.0)) == views
    assert holds.active[TENANT].probing == 7
    holds.mirror([], 6.0)
    assert not holds.active


@pytest.mark.parametrize("ask", [T1, NOBODY])
def test_a_permit_that_was_granted_elsewhere_is_charged_as_one_of_ours(ask: Ask) -> None:
    here, there = make(), make()
    permit = granted(there, ask, 1.0)
    here.charge(Permit(here.number(), ask, permit.keys, 1.0))
    assert state(here) == state(there)


def test_the_probe_of_a_hold_elsewhere_is_its_probe_here() -> None:
    limits = make()
    limits.holds.follow(change(HoldAction.BEGUN), 0.0)
    permit = Permit(limits.number(), T1, KEYS, 11.0, probes=(TENANT,))
    limits.charge(permit)
    assert limits.acquire(T1, 11.0) == Denial("offline", 16.0, TENANT)
    assert answered(limits, permit, 12.0).holds == (change(HoldAction.ENDED),)


def test_no_more_calls_may_have_escaped_the_server_than_were_sent() -> None:
    """A call that is charged no longer is not among ours: what the server says is left is not raised."""
    limits = make(CAPS)
    call(limits, T1, 0.0, Remaining(day=50))
    limits.accounts.tenants["app", "t1"].day.learn(
        50, limits.accounts.tenants["app", "t1"].minute.unaccounted(5.0)
    )
    assert limits.view(5.0)[0][0].day_remaining == 50
