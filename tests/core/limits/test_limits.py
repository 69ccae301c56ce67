from __future__ import annotations

import pytest

from proxy.core.limits import accounts as accounts_module
from proxy.core.limits.accounts import Caps
from proxy.core.limits.day import ASK_AGAIN_SECONDS
from proxy.core.limits.decision import Ask, Denial, Effects, Forecast, Settlement
from proxy.core.limits.holds import HoldAction
from proxy.core.limits.window import Window
from proxy.core.model import (
    AppView,
    HoldKey,
    HoldView,
    Limit,
    Remaining,
    Scope,
    TenantView,
)
from tests.core.permits import (
    MAINTENANCE,
    NEVER_SENT,
    NOBODY,
    OFFLINE,
    OTHER_APP,
    SPAN,
    T1,
    T2,
    about,
    answered,
    call,
    denied,
    granted,
    make,
    state,
)

# ---- Each limit by itself


def test_a_permit_says_what_it_was_given_for() -> None:
    limits = make()
    first, second = granted(limits, T1, 7.0), granted(limits, NOBODY, 8.0)
    assert (first.ask, first.granted_at, first.probes, first.settled) == (T1, 7.0, (), False)
    assert first.number != second.number


def test_no_more_than_the_concurrent_limit_are_in_flight() -> None:
    limits = make()
    first = granted(limits, T1, 0.0)
    granted(limits, T1, 0.0)
    assert denied(limits, T1, 0.0) == Denial(Limit.CONCURRENT, None)
    granted(limits, T2, 0.0)
    answered(limits, first, 1.0)
    granted(limits, T1, 1.0)


def test_no_more_than_the_minute_limit_in_any_minute() -> None:
    limits = make()
    for at in (0.0, 1.0, 2.0):
        call(limits, T1, at)
    denial = denied(limits, T1, 3.0)
    assert denial.limit == Limit.MINUTE
    assert denial.until == pytest.approx(SPAN)
    assert denial.until is not None
    denied(limits, T1, denial.until - 0.001)
    granted(limits, T1, denial.until)


def test_no_more_than_the_day_limit_in_a_day() -> None:
    limits = make(Caps(day=2))
    call(limits, T1, 0.0)
    call(limits, T1, 1.0)
    assert denied(limits, T1, 2.0) == Denial(Limit.DAY, 1.0 + ASK_AGAIN_SECONDS)


def test_no_more_than_the_apps_limit_over_all_its_organisations() -> None:
    limits = make()
    for ask in (T1, T1, T2, T2, NOBODY):
        call(limits, ask, 0.0)
    for ask in (T1, T2, NOBODY, Ask("app", "t3", "files")):
        denial = denied(limits, ask, 1.0)
        assert denial.limit == Limit.APP_MINUTE
        assert denial.until == pytest.approx(SPAN)
    granted(limits, OTHER_APP, 1.0)


def test_a_request_without_an_organisation_uses_the_apps_limit_alone() -> None:
    limits = make()
    permits = [granted(limits, NOBODY, 0.0) for _ in range(5)]
    assert denied(limits, NOBODY, 0.0) == Denial(Limit.APP_MINUTE, None)
    for permit in permits:
        assert answered(limits, permit, 1.0, remaining=Remaining(minute=0, day=0)) == Effects()
    assert limits.view(1.0)[0] == []


def test_a_hold_stops_before_any_limit_does() -> None:
    limits = make()
    answered(limits, granted(limits, T1, 0.0), 1.0, OFFLINE)
    key = HoldKey(Scope.TENANT, app="app", tenant="t1")
    assert denied(limits, T1, 2.0) == Denial("offline", 301.0, key)
    probe = granted(limits, T1, 301.0)
    assert probe.probes == (key,)
    assert denied(limits, T1, 302.0) == Denial("offline", 306.0, key)
    effects = answered(limits, probe, 303.0)
    assert [change.action for change in effects.holds] == [HoldAction.ENDED]
    assert granted(limits, T1, 303.0).probes == ()


def test_an_operator_can_end_a_hold() -> None:
    limits = make()
    answered(limits, granted(limits, T1, 0.0), 1.0, OFFLINE)
    key = HoldKey(Scope.TENANT, app="app", tenant="t1")
    change = limits.holds.clear(key)
    assert change is not None
    assert change.action is HoldAction.CLEARED
    assert limits.holds.clear(key) is None
    granted(limits, T1, 2.0)


# ---- Settling


def test_a_permit_is_settled_once() -> None:
    limits = make()
    permit = granted(limits, T1, 0.0)
    answered(limits, permit, 1.0)
    before = state(limits)
    with pytest.raises(RuntimeError, match="settled twice"):
        answered(limits, permit, 2.0)
    assert state(limits) == before


@pytest.mark.parametrize("ask", [T1, NOBODY])
def test_what_was_never_sent_costs_nothing(ask: Ask) -> None:
    limits = make()
    permit = granted(limits, ask, 5.0)
    limits.settle(permit, Settlement(NEVER_SENT, sent=False, head_at=9.0), 9.0, 0.5)
    for tenant in limits.view(9.0)[0]:
        assert (tenant.minute_remaining, tenant.day_remaining, tenant.in_flight) == (3, 100, 0)
    assert limits.view(9.0)[1] == [AppView("app", 5, 5)]


def test_a_connection_that_fails_long_after_the_window_gives_back_its_own_place() -> None:
    limits = make(Caps(minute=3, minute_seconds=1.0, concurrent=5))
    slow = granted(limits, T1, 0.0)
    quick = granted(limits, T1, 5.0)
    for permit in (quick, slow):
        limits.settle(permit, Settlement(NEVER_SENT, sent=False, head_at=10.0), 10.0, 0.5)
    [tenant] = limits.view(10.0)[0]
    assert (tenant.in_flight, tenant.minute_remaining) == (0, 3)


def test_what_the_server_says_is_left_is_learnt() -> None:
    limits = make(Caps())
    effects = call(limits, T1, 0.0, Remaining(minute=50, day=4000, app_minute=4000))
    assert effects.foreign == 9
    tenants, apps = limits.view(0.0)
    [tenant] = tenants
    assert (tenant.minute_remaining, tenant.day_remaining, tenant.foreign_calls) == (50, 4000, 9)
    assert apps == [AppView("app", 10_000, 4000)]
    assert call(limits, NOBODY, 0.5, Remaining(app_minute=9000)).foreign == 0
    assert limits.view(0.5)[1] == [AppView("app", 10_000, 3999)], "far from its limit nothing is learnt"
    assert call(limits, T1, 1.0).foreign == 0, "headers that are absent say nothing"
    assert limits.view(1.0)[0][0].day_remaining == 3999


def test_the_days_headers_are_read_with_the_calls_under_way_in_mind() -> None:
    limits = make(Caps())
    permits = [granted(limits, T1, 0.0) for _ in range(5)]
    for left, permit in zip((4998, 4996, 4999, 4995, 4997), permits, strict=True):
        answered(limits, permit, 1.0, remaining=Remaining(day=left))
    assert limits.view(1.0)[0][0].day_remaining == 4995


# ---- Forecasts


def test_nothing_stands_in_the_way_of_the_first() -> None:
    limits = make()
    for ask in (T1, NOBODY):
        assert limits.forecast(ask, 0, 3.0) == Forecast("", 3.0)


def test_a_forecast_names_what_takes_longest() -> None:
    limits = make()
    for at in (0.0, 1.0, 2.0):
        call(limits, T1, at)
    assert limits.forecast(T1, 1, 3.0) == Forecast(Limit.MINUTE, about(1.0 + SPAN))
    call(limits, T2, 4.0)
    call(limits, T2, 5.0)
    assert limits.forecast(T2, 0, 6.0) == Forecast(Limit.APP_MINUTE, about(SPAN))
    answered(limits, granted(limits, Ask("other", "t1", "accounting"), 6.0), 6.0, MAINTENANCE)
    assert limits.forecast(NOBODY, 0, 6.0).limit == Limit.APP_MINUTE
    answered(limits, granted(limits, Ask("third", "t1", "files"), 6.0), 6.0, OFFLINE)
    assert limits.forecast(Ask("third", "t1", "files"), 0, 6.0) == Forecast("offline", 306.0)


def test_a_forecast_names_a_hold_whose_probe_is_due() -> None:
    limits = make()
    answered(limits, granted(limits, T1, 0.0), 1.0, OFFLINE)
    assert limits.forecast(T1, 0, 400.0) == Forecast("", 400.0)
    granted(limits, T1, 400.0)
    assert limits.forecast(T1, 0, 401.0) == Forecast("offline", 405.0)
    assert limits.forecast(T1, 0, 405.0) == Forecast("", 405.0)


def test_a_forecast_for_more_than_a_day_holds_is_no_accident() -> None:
    limits = make(Caps(day=10, minute=60))
    permit = granted(limits, T1, 0.0)
    limits.settle(permit, Settlement(NEVER_SENT, sent=False, head_at=0.0), 0.0, 0.5)
    limits.forecast(T1, 10, 0.0)
    call(limits, T1, 1.0)
    assert limits.forecast(T1, 10, 2.0).limit == Limit.DAY


# ---- Operators


def test_operators_see_the_budgets() -> None:
    limits = make()
    call(limits, T1, 0.0)
    granted(limits, T1, 1.0)
    tenants, apps = limits.view(2.0)
    assert tenants == [
        TenantView(
            app="app",
            tenant="t1",
            queued=0,
            oldest_seconds=0.0,
            blocked_by="",
            next_seconds=None,
            in_flight=1,
            concurrent_limit=2,
            minute_limit=3,
            minute_remaining=1,
            day_limit=100,
            day_remaining=98,
            foreign_calls=0,
        )
    ]
    assert apps == [AppView("app", 5, 3)]
    assert tuple(limits.holds.each(2.0)) == tuple[HoldView, ...]()


# ---- Memory


def test_of_very_many_organisations_the_idle_are_forgotten_and_the_busy_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts_module, "TENANTS_KEPT", 20)
    limits = make(Caps(app_minute=10_000))
    busy = granted(limits, Ask("app", "busy", "accounting"), 0.0)
    call(limits, Ask("app", "recent", "accounting"), 950.0)
    for number in range(1000):
        call(limits, Ask("app", f"t{number}", "accounting"), float(number))
        assert len(limits.accounts.tenants) <= 20 + 61
    assert ("app", "recent") in limits.accounts.tenants
    assert ("app", "t0") not in limits.accounts.tenants
    answered(limits, busy, 1000.0)
    [view] = [view for view in limits.view(1000.0)[0] if view.tenant == "busy"]
    assert view.in_flight == 0


def test_of_very_many_apps_the_idle_are_forgotten_and_the_busy_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts_module, "TENANTS_KEPT", 20)
    limits = make()
    busy = granted(limits, Ask("busy", None, "identity"), 0.0)
    for number in range(1000):
        call(limits, Ask(f"app{number}", None, "identity"), float(number))
        assert len(limits.accounts.apps) <= 20 + 61
    assert "app0" not in limits.accounts.apps
    answered(limits, busy, 1000.0)


def test_a_thousand_apps_at_once_are_not_looked_through_at_every_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts_module, "TENANTS_KEPT", 20)
    limits, looked = make(), 0
    idle = Window.idle

    def counting(window: Window, now: float) -> bool:
        nonlocal looked
        looked += 1
        return idle(window, now)

    monkeypatch.setattr(Window, "idle", counting)
    for number in range(1000):
        granted(limits, Ask(f"app{number}", f"t{number}", "accounting"), 0.0)
    assert looked <= 1000 * 2 * 8


def test_who_asks_often_has_one_ask() -> None:
    assert Ask.of("app", None, "files") is Ask.of("app", None, "files")
    assert Ask.of("app", "t", "files") == Ask("app", "t", "files")
