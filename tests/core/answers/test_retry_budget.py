"""Retries as a share of recent requests, over a floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answers import retry
from proxy.core.answers.retry import (
    BUDGET_FLOOR,
    BUDGET_SECONDS,
    Budget,
    Budgets,
    Stop,
)
from tests.core.answers.requests import tried
from tests.core.answers.test_retry import DONE, NOW, UNKNOWN, after


def test_without_requests_there_is_a_small_floor() -> None:
    budget = Budget(0.2)
    assert [budget.take(NOW) for _ in range(BUDGET_FLOOR + 2)] == [True] * BUDGET_FLOOR + [False] * 2
    assert after(tried("GET"), UNKNOWN, budget=budget) == Stop("budget")


def test_above_it_retries_are_a_share_of_recent_requests() -> None:
    budget = Budget(0.2)
    for _ in range(100):
        budget.request(NOW)
    assert sum(budget.take(NOW) for _ in range(100)) == BUDGET_FLOOR + 20


def test_what_is_not_repeated_is_not_paid_for() -> None:
    budget = Budget(0.0)
    for _ in range(20):
        after(tried("POST"), UNKNOWN, budget=budget)
        after(tried("GET"), UNKNOWN, budget=budget, deadline=NOW - 1.0)
        after(tried("GET"), DONE, budget=budget)
    assert sum(budget.take(NOW) for _ in range(20)) == BUDGET_FLOOR


def test_what_came_a_while_ago_is_still_recent() -> None:
    budget = Budget(0.5)
    for _ in range(10):
        budget.request(0.0)
    assert sum(budget.take(BUDGET_SECONDS / 2) for _ in range(20)) == BUDGET_FLOOR + 5


def test_only_what_is_recent_counts() -> None:
    budget = Budget(0.5)
    for _ in range(10):
        budget.request(0.0)
    assert sum(budget.take(1.0) for _ in range(20)) == BUDGET_FLOOR + 5
    assert not budget.take(BUDGET_SECONDS / 2), "half of what counts as recent later, both still count"
    assert sum(budget.take(BUDGET_SECONDS) for _ in range(20)) == BUDGET_FLOOR
    assert sum(budget.take(10 * BUDGET_SECONDS) for _ in range(20)) == BUDGET_FLOOR


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 60.0)), max_size=200), st.floats(0.0, 1.0))
def test_in_any_span_retries_stay_a_share_of_the_requests_before_it(
    moves: list[tuple[bool, float]], share: float
) -> None:
    budget, now = Budget(share), 0.0
    requests: list[float] = []
    retries: list[float] = []
    for is_request, pause in moves:
        now += pause
        if is_request:
            budget.request(now)
            requests.append(now)
        elif budget.take(now):
            retries.append(now)
        span = BUDGET_SECONDS / 2
        recent = sum(at > now - span for at in retries)
        assert recent <= BUDGET_FLOOR + share * sum(at > now - 3 * span for at in requests) + 1


def test_each_organisation_has_its_own_budget() -> None:
    budgets = Budgets(0.2)
    assert budgets.of("app", "t1") is budgets.of("app", "t1")
    others = [budgets.of("app", "t2"), budgets.of("app", None), budgets.of("other", "t1")]
    assert all(other is not budgets.of("app", "t1") for other in others)
    assert budgets.of("app", "t1").share == 0.2


def test_of_very_many_budgets_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BUDGETS_KEPT", 3)
    budgets = Budgets(0.2)
    kept = [budgets.of("app", f"t{number}") for number in range(5)]
    assert len(budgets._budgets) == 3
    assert budgets.of("app", "t4") is kept[4]
    assert budgets.of("app", "t0") is not kept[0]
