"""What a hold explains, and what a later answer proves of an earlier attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.answers.retry import Again, Budget
from proxy.core.answers.route import less_safe
from proxy.core.model import ResponseClass, Scope
from tests.core.answers.requests import ROUTE, tried
from tests.core.answers.test_retry import (
    CACHED,
    DONE,
    NOW,
    REJECTED,
    UNKNOWN,
    YES,
    after,
    held,
    with_a_lost_attempt,
)

# ---- Rejections that hold a scope


@pytest.mark.parametrize(
    ("row", "retry_after"),
    [
        (held(Scope.TENANT, "retry_after"), 22.0),
        (held(Scope.TENANT, "offline"), None),
        (held(Scope.TENANT, 0.25), None),
        (held(Scope.API, "backoff"), None),
        (held(Scope.APP, "retry_after"), 22.0),
    ],
)
def test_a_held_scope_is_waited_for_in_line_and_costs_no_budget(
    row: ResponseClass, retry_after: float | None
) -> None:
    budget = Budget(0.0)
    while budget.take(NOW):
        pass
    assert after(tried("GET"), row, retry_after=retry_after, random=0.9, budget=budget) == YES


def test_a_limit_without_a_time_backs_off_its_own_request() -> None:
    row = held(Scope.TENANT, "retry_after")
    assert after(tried("GET"), row, random=0.8) == Again(NOW + 0.4, False)


@pytest.mark.parametrize("seconds", ["retry_after", "offline", 0.25])
def test_a_request_without_an_organisation_cannot_wait_for_a_hold_of_one(seconds: float | str) -> None:
    history = tried("GET", ROUTE._replace(tenant=None))
    row = held(Scope.TENANT, seconds)
    assert after(history, row, retry_after=22.0) == Again(NOW + 22.0, False)
    assert after(history, held(Scope.APP, "retry_after"), retry_after=22.0) == YES
    assert after(history, held(Scope.API, "backoff")) == YES


# ---- What an answer proves


@pytest.mark.parametrize("row", [REJECTED, UNKNOWN, CACHED, DONE])
def test_a_first_answer_speaks_for_itself_and_a_later_one_only_where_it_proves_something(
    row: ResponseClass,
) -> None:
    history = tried("PUT")
    history.record(row)
    assert history.proved(row)
    history = with_a_lost_attempt(tried("PUT"))
    history.record(row)
    assert not history.proved(row)
    assert history.proved(replace(row, proves=True))


@pytest.mark.parametrize(
    ("method", "overrides", "counts_as"),
    [
        ("GET", (), "GET"),
        ("GET", ("DELETE", "HEAD"), "DELETE"),
        ("DELETE", ("GET", "PATCH"), "PATCH"),
        ("POST", ("DELETE",), "POST"),
    ],
)
def test_of_several_methods_the_least_safe_counts(
    method: str, overrides: tuple[str, ...], counts_as: str
) -> None:
    assert less_safe(method, overrides) == counts_as
