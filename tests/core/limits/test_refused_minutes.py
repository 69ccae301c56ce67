"""A refusal says when the server has room again; who took it, and until when, nobody says."""

from __future__ import annotations

import pytest

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Limits, Permit, Settlement
from proxy.core.limits.window import Window
from proxy.core.model import Execution, HoldRule, Limit, Remaining, ResponseClass, Scope, keys_of
from tests.core.limits.test_window import SECONDS, SPAN, told
from tests.core.permits import OK, T1, T2, about, answered, denied, granted, make

CAPS = Caps(minute=60, concurrent=5, app_minute=200)
MINUTE = ResponseClass(
    "limit_minute",
    Execution.REJECTED,
    HoldRule(Scope.TENANT, Limit.MINUTE, "retry_after"),
    limit=Limit.MINUTE,
)
APP_MINUTE = ResponseClass(
    "limit_appminute",
    Execution.REJECTED,
    HoldRule(Scope.APP, Limit.APP_MINUTE, "retry_after"),
    limit=Limit.APP_MINUTE,
)
DAY = ResponseClass(
    "limit_day", Execution.REJECTED, HoldRule(Scope.TENANT, Limit.DAY, "retry_after"), limit=Limit.DAY
)


def refused(
    limits: Limits,
    permit: Permit,
    at: float,
    row: ResponseClass = MINUTE,
    remaining: Remaining = Remaining(minute=0),
    retry_after: float = 22.0,
) -> None:
    limits.settle(permit, Settlement(row, True, at, remaining, retry_after), at, 0.5)


def spent_by_others(limits: Limits, at: float = 0.0) -> None:
    """Five go at once, and all are refused."""
    for permit in [granted(limits, T1, at) for _ in range(5)]:
        refused(limits, permit, at + 0.2)


def probe_is_out(limits: Limits, row: ResponseClass, remaining: Remaining) -> Permit:
    """The server refused and has room again at 22.2 s: since 22.8 s one is out that says nothing."""
    refused(limits, granted(limits, T1, 0.0), 0.2, row, remaining)
    return granted(limits, T1, 22.8)


def next_goes(limits: Limits, ask: Ask = T1, now: float = 1.0) -> float:
    return limits.forecast(ask, 0, now).at


def test_one_goes_when_the_server_has_room_again_and_not_a_window_later() -> None:
    limits = make(CAPS)
    spent_by_others(limits)
    assert next_goes(limits) == pytest.approx(22.2, abs=0.6)
    granted(limits, T1, 22.8)
    denied(limits, T1, 23.9)


def test_whoever_went_first_after_a_fixed_window_brings_word_that_all_others_are_gone() -> None:
    limits = make(CAPS)
    spent_by_others(limits)
    answered(limits, granted(limits, T1, 22.8), 23.0, remaining=Remaining(minute=59))
    for _ in range(5):
        granted(limits, T1, 23.1)


def test_whoever_went_first_in_a_rolling_window_brings_word_that_it_is_full() -> None:
    limits = make(CAPS)
    spent_by_others(limits)
    answered(limits, granted(limits, T1, 22.8), 23.0, remaining=Remaining(minute=0))
    assert denied(limits, T1, 23.1).until == about(0.2 + SPAN)


def test_a_server_that_refuses_again_is_asked_again_when_it_says() -> None:
    limits = make(CAPS)
    spent_by_others(limits)
    refused(limits, granted(limits, T1, 22.8), 23.0, retry_after=5.0)
    assert next_goes(limits, now=23.1) == pytest.approx(28.0, abs=0.6)
    granted(limits, T1, 28.6)


def test_the_apps_minute_is_believed_as_an_organisations() -> None:
    limits = make(CAPS)
    refused(limits, granted(limits, T1, 0.0), 0.2, APP_MINUTE, Remaining(minute=59, app_minute=0), 30.0)
    assert next_goes(limits) == pytest.approx(30.2, abs=0.6)
    granted(limits, T1, 31.0)


def test_a_refusal_for_another_reason_says_nothing_of_the_minute() -> None:
    limits = make(CAPS)
    refused(limits, granted(limits, T1, 0.0), 0.2, DAY, retry_after=10.0)
    assert denied(limits, T1, 20.0).until == about(0.2 + SPAN)


def test_where_only_the_app_counts_an_organisations_minute_is_nobodys() -> None:
    limits = make(CAPS)
    nobody = Ask("app", None, "identity")
    refused(limits, granted(limits, nobody, 0.0), 0.2)
    granted(limits, nobody, 23.0)


def test_our_own_calls_stay_where_our_own_count_has_them() -> None:
    window = Window(10, SECONDS)
    for _ in range(10):
        window.dispatch(0.0)
        window.settle(1.0)
    window.expect(5.0, 1.0)
    assert window.earliest(5.0) == about(1.0 + SPAN)


@pytest.mark.parametrize("first", [11.0, 30.0])
def test_two_words_free_one_place_when_the_earlier_says(first: float) -> None:
    window = Window(10, SECONDS)
    assert told(window, 0, sent_at=0.0, head_at=1.0) == 9
    window.expect(first, 1.0)
    window.expect(10.2, 1.2)
    assert window.free(12.0) == 1


def test_room_is_expected_where_calls_in_flight_left_nothing_to_wait_for() -> None:
    window = Window(2, SECONDS)
    window.dispatch(0.0)
    assert window.learn(0.0, 1.0, 0, 1.0) == 1
    window.dispatch(1.5)
    window.dispatch(1.5)
    assert window.earliest(2.0) is None
    window.expect(3.0, 2.0)
    assert window.foreign(3.1) == 0


LIMITS = [
    pytest.param(MINUTE, Remaining(minute=0), T1, id="minute"),
    pytest.param(APP_MINUTE, Remaining(minute=50, app_minute=0), T2, id="appminute"),
    pytest.param(DAY, Remaining(minute=50, day=0), T1, id="day"),
]


@pytest.mark.parametrize(("row", "remaining", "other"), LIMITS)
class TestProbe:
    def test_one_that_says_nothing_keeps_the_others_for_five_seconds(
        self, row: ResponseClass, remaining: Remaining, other: Ask
    ) -> None:
        limits = make(CAPS)
        probe_is_out(limits, row, remaining)
        assert denied(limits, other, 23.0).until == about(27.8)
        for _ in range(4):
            granted(limits, other, 27.9)

    def test_nobody_is_hopeless_who_can_wait_for_it(
        self, row: ResponseClass, remaining: Remaining, other: Ask
    ) -> None:
        limits = make(CAPS)
        probe = granted(limits, T1, 0.0)
        granted(limits, other, 0.0)
        refused(limits, probe, 0.2, row, remaining)
        assert limits.forecast(other, 3, 1.0).at == about(22.6)
        granted(limits, T1, 22.8)
        assert limits.forecast(other, 3, 23.0).at == about(27.8)
        assert limits.forecast(other, 3, 28.0).at == 28.0

    def test_a_good_head_that_says_nothing_of_the_limit_lets_all_go(
        self, row: ResponseClass, remaining: Remaining, other: Ask
    ) -> None:
        limits = make(CAPS)
        probe = probe_is_out(limits, row, remaining)
        limits.settle(probe, Settlement(OK, True, 23.0), 23.0, 0.5, ended=False)
        assert limits.forecast(other, 3, 23.1).at == 23.1
        for _ in range(4):
            granted(limits, other, 23.1)

    def test_a_good_head_says_whether_the_limit_is_spent_all_the_same(
        self, row: ResponseClass, remaining: Remaining, other: Ask
    ) -> None:
        limits = make(CAPS)
        answered(limits, probe_is_out(limits, row, remaining), 23.0, remaining=remaining)
        assert denied(limits, other, 23.1).limit == row.limit


@pytest.mark.parametrize("limit", [Limit.MINUTE, Limit.APP_MINUTE, Limit.DAY])
def test_who_is_not_known_has_nothing_that_could_be_void(limit: Limit) -> None:
    limits = make(CAPS)
    for key in keys_of("app", "t1", "accounting"):
        limits.accounts.let_in(key, limit, Remaining(), 1.0, 1.0)
    assert not limits.accounts.tenants
    assert not limits.accounts.apps


def test_a_head_far_from_the_apps_limit_lets_all_go() -> None:
    limits = make(CAPS)
    probe = probe_is_out(limits, APP_MINUTE, Remaining(minute=50, app_minute=0))
    answered(limits, probe, 23.0, remaining=Remaining(minute=49, app_minute=199))
    for _ in range(5):
        granted(limits, T2, 23.1)


def test_our_own_calls_count_while_a_probe_finds_out() -> None:
    limits = make(Caps(minute=3, concurrent=5, app_minute=200))
    calls = [granted(limits, T1, 0.0) for _ in range(3)]
    for call in calls[:2]:
        answered(limits, call, 0.2)
    refused(limits, calls[2], 0.3, remaining=Remaining(minute=0), retry_after=2.0)
    assert denied(limits, T1, 5.0).until == about(0.2 + SPAN)
    assert limits.forecast(T1, 0, 5.0).at == about(0.2 + SPAN)
    assert limits.forecast(T1, 2, 5.0).at == about(0.3 + SPAN)


def test_an_answer_from_before_a_probes_raises_nothing_that_its_head_made_void() -> None:
    limits = make(CAPS)
    late = granted(limits, T1, 0.0)
    probe = probe_is_out(limits, MINUTE, Remaining(minute=0))
    answered(limits, probe, 23.0)
    window = limits.accounts.tenants["app", "t1"].minute
    window.learn(late.granted_at, 22.7, 0, 23.1)
    assert window.foreign(23.1) == 0


def test_a_new_day_that_nobody_spoke_of_is_as_large_as_it_was_said_to_be() -> None:
    limits = make(CAPS)
    answered(limits, probe_is_out(limits, DAY, Remaining(minute=50, day=0)), 23.0)
    left = limits.left(T1, 23.1)
    assert (left.day, left.day_limit) == (CAPS.day, CAPS.day)
