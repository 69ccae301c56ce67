"""What an operator can end of what the limits believe, and what they tell."""

from __future__ import annotations

from proxy.core.limits.accounts import Caps
from proxy.core.limits.holds import HoldAction, HoldChange
from proxy.core.model import HoldKey, Left, Limit, Remaining, Scope
from tests.core.permits import NOBODY, T1, answered, denied, granted, make


def test_an_operators_clear_lets_one_call_ask_whatever_is_believed_of_the_day() -> None:
    limits = make()
    key = HoldKey(Scope.TENANT, app="app", tenant="t1")
    assert limits.clear(key, 0.0) is None
    assert limits.clear(HoldKey(Scope.APP, app="app"), 0.0) is None
    answered(limits, granted(limits, T1, 0.0), 1.0, remaining=Remaining(day=0))
    assert not limits.forecast(T1, 0, 2.0).known
    assert denied(limits, T1, 2.0).limit == Limit.DAY
    assert limits.clear(key, 2.0) == HoldChange(HoldAction.CLEARED, key, Limit.DAY, 2.0, probe=False)
    assert limits.forecast(T1, 0, 2.0).limit == ""
    asks = granted(limits, T1, 2.0)
    assert denied(limits, T1, 2.0).limit == Limit.DAY
    answered(limits, asks, 3.0, remaining=Remaining(day=9))
    granted(limits, T1, 3.0)
    assert limits.clear(key, 3.0) is None


def test_a_call_that_goes_well_and_says_nothing_of_the_day_ends_the_belief_that_it_is_spent() -> None:
    limits = make()
    answered(limits, granted(limits, T1, 0.0), 1.0, remaining=Remaining(day=0))
    limits.clear(HoldKey(Scope.TENANT, app="app", tenant="t1"), 2.0)
    answered(limits, granted(limits, T1, 2.0), 3.0)
    granted(limits, T1, 3.0)


def test_an_answer_that_says_nothing_of_the_day_leaves_our_own_count_as_it_is() -> None:
    limits = make(Caps(day=2))
    for now in (0.0, 1.0):
        answered(limits, granted(limits, T1, now), now)
    assert denied(limits, T1, 2.0).limit == Limit.DAY


def test_what_the_limits_leave_is_told_as_far_as_it_is_known() -> None:
    limits = make()
    assert limits.left(T1, 0.0) == Left()
    granted(limits, NOBODY, 0.0)
    known = limits.left(T1, 0.0)
    assert known.app_minute is not None
    assert known._replace(app_minute=None) == Left()
    granted(limits, T1, 0.0)
    (view,) = limits.view(0.0)[0]
    assert limits.left(T1, 0.0)[:2] == (view.minute_remaining, view.day_remaining)
    assert limits.left(NOBODY, 0.0).day is None
