"""What the status page is given to show. What it makes of that, `tests/deploy/test_status_page.py` shows."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import orjson
import pytest

from proxy.admin.page import CONTENT_SECURITY_POLICY, PAGE, ROWS_MAX, as_shown
from proxy.core.model import (
    AppView,
    ConnectionView,
    HoldKey,
    HoldView,
    Scope,
    Snapshot,
    StoreView,
    TenantView,
)
from proxy.observe.last_failures import FailureView
from proxy.observe.states import FAILING_SECONDS, LONG_WAIT_SECONDS
from proxy.observe.status import Status, as_json
from proxy.observe.steps import whole
from tests.observe.test_status import OFFLINE, status
from tests.operators import tenant_view


def shown_of(status: Status) -> dict[str, Any]:
    return whole(as_shown(status))


def rows(*views: TenantView, holds: tuple[HoldView, ...] = (), failures: tuple[FailureView, ...] = ()) -> Any:
    return shown_of(status(Snapshot(tenants=views, holds=holds), *failures))["rows"]


def failed(tenant: str, seconds: float) -> FailureView:
    return FailureView("app", tenant, "refused_offline", 503, 3, seconds)


@pytest.mark.parametrize(
    ("view", "state"),
    [
        (tenant_view("t"), "calm"),
        (tenant_view("t", minute_remaining=0, in_flight=5), "calm"),
        (tenant_view("t", queued=1, oldest_seconds=LONG_WAIT_SECONDS - 1), "waiting"),
        (tenant_view("t", queued=1, oldest_seconds=LONG_WAIT_SECONDS), "waiting long"),
        (tenant_view("t", day_remaining=501), "calm"),
        (tenant_view("t", day_remaining=500), "day low"),
        (tenant_view("t", day_remaining=1, queued=1, oldest_seconds=99.0), "day low"),
        (tenant_view("t", day_remaining=0), "day spent"),
        (tenant_view("acme", day_remaining=0), "held"),
    ],
)
def test_an_organisation_is_as_the_worst_that_is_the_matter_with_it(view: TenantView, state: str) -> None:
    assert [row["states"][0]["state"] for row in rows(view, holds=(OFFLINE,))] == [state]


@pytest.mark.parametrize(("seconds", "state"), [(FAILING_SECONDS - 1, "failing"), (FAILING_SECONDS, "calm")])
def test_an_organisation_is_failing_for_a_while_after_its_last_failure(seconds: float, state: str) -> None:
    (row,) = rows(tenant_view("t"), failures=(failed("t", seconds), failed("t", seconds + 60)))
    assert (row["states"][0]["state"], len(row["failures"])) == (state, 2)


@pytest.mark.parametrize(
    ("answered", "state"),
    [
        *((status, "failing") for status in (200, 401, 403, 429, 500, 503)),
        *((status, "calm") for status in (400, 404, 409, 499)),
    ],
)
def test_what_a_caller_did_wrong_is_shown_but_is_no_trouble_of_the_organisation(
    answered: int, state: str
) -> None:
    (row,) = rows(tenant_view("t"), failures=(FailureView("app", "t", "a_class", answered, 1, 2.0),))
    assert (row["states"][0]["state"], len(row["failures"])) == (state, 1)


def test_trouble_comes_first_and_equals_stay_in_the_order_of_their_names() -> None:
    shown = rows(
        tenant_view("b"),
        tenant_view("a"),
        tenant_view("waits", queued=1),
        tenant_view("fails"),
        tenant_view("waits long", queued=1, oldest_seconds=60.0),
        tenant_view("spent", day_remaining=0),
        tenant_view("acme"),
        holds=(OFFLINE,),
        failures=(failed("fails", 1.0),),
    )
    names = [row["view"].tenant for row in shown]
    assert names == ["acme", "spent", "waits long", "fails", "waits", "a", "b"]


def test_a_hold_is_in_the_row_of_its_organisation_and_what_has_no_row_is_on_its_own() -> None:
    elsewhere = HoldView(HoldKey(Scope.TENANT, app="other", tenant="acme"), "minute", 9.0, probing=False)
    api = HoldView(HoldKey(Scope.API, api="accounting"), "maintenance", 3.0, probing=True)
    app = HoldView(HoldKey(Scope.APP), "appminute", 7.0, probing=False)
    shown = shown_of(
        status(
            Snapshot(tenants=(tenant_view(), tenant_view("", app="")), holds=(elsewhere, api, OFFLINE, app)),
            failed("acme", 1.0),
            failed("gone", 2.0),
        )
    )
    assert [[each.get("reason") for each in row["states"]] for row in shown["rows"]] == [
        ["offline", None],
        [None],
    ]
    assert [hold["reason"] for hold in shown["holds"]] == ["appminute", "maintenance", "minute"]
    assert [failure["tenant"] for failure in shown["failures"]] == ["gone"]
    assert shown["totals"]["holds"] == 4


def test_an_organisation_without_a_connection_comes_before_all_others_and_an_app_is_on_its_own() -> None:
    lost = (
        ConnectionView("app", "t", "unauthorised", 5.0),
        ConnectionView("app", "", "invalid_grant", 5.0),
    )
    views = (tenant_view(), tenant_view("t"))
    shown = shown_of(status(Snapshot(tenants=views, holds=(OFFLINE,), connections=lost)))
    assert [(row["states"][0]["state"], row["view"].tenant) for row in shown["rows"]] == [
        ("unauthorised", "t"),
        ("held", "acme"),
    ]
    assert [row["states"][0]["reason"] for row in shown["rows"]] == ["unauthorised", "offline"]
    assert [(each["app"], each["state"]) for each in shown["connections"]] == [("app", "connection lost")]


def test_no_state_of_an_organisation_hides_another() -> None:
    view = tenant_view("acme", day_remaining=0, queued=2, oldest_seconds=60.0)
    lost = ConnectionView("app", "acme", "wrong_tenant", 60.0)
    day = HoldView(HoldKey(Scope.TENANT, app="app", tenant="acme"), "day", 3600.0, probing=False)
    snapshot = Snapshot(tenants=(view,), holds=(day,), connections=(lost,))
    (row,) = shown_of(status(snapshot, failed("acme", 1.0)))["rows"]
    states = row["states"]
    assert [each["state"] for each in states] == [
        "unauthorised",
        "held",
        "day spent",
        "waiting long",
        "failing",
    ]
    assert (states[0]["reason"], states[0]["since"]) == ("wrong_tenant", "2026-11-21T11:59:05.750Z")
    assert (states[1]["reason"], states[1]["until"]) == ("day", "2026-11-21T13:00:05.750Z")
    (in_json,) = orjson.loads(whole(as_json(status(snapshot, failed("acme", 1.0)))))["tenants"]
    assert in_json["states"] == states


def test_every_hold_of_an_organisation_is_one_of_its_states() -> None:
    holds = tuple(
        HoldView(HoldKey(Scope.TENANT, app="app", tenant="acme", api=api), reason, 9.0, probing=False)
        for api, reason in (("", "offline"), ("accounting", "failing"))
    )
    (row,) = rows(tenant_view(), holds=holds)
    assert [(each["state"], each["api"], each["reason"]) for each in row["states"][:2]] == [
        ("held", "", "offline"),
        ("held", "accounting", "failing"),
    ]


def test_of_very_many_organisations_those_in_trouble_are_shown() -> None:
    views = tuple(tenant_view(f"t{number}", queued=number % 2) for number in range(4 * ROWS_MAX))
    held = tuple(
        HoldView(HoldKey(Scope.TENANT, app="app", tenant=f"u{number}"), "offline", 9.0, probing=False)
        for number in range(2 * ROWS_MAX)
    )
    failures = tuple(failed(f"u{number}", 1.0) for number in range(2 * ROWS_MAX))
    apps = tuple(AppView(f"app{number}", 100, number % 101) for number in range(2 * ROWS_MAX))
    shown = shown_of(status(Snapshot(tenants=views, holds=held, apps=apps), *failures))
    assert {row["states"][0]["state"] for row in shown["rows"]} == {"waiting"}
    assert {len(shown[name]) for name in ("rows", "holds", "apps", "failures")} == {ROWS_MAX}
    assert shown["totals"]["organisations"] == 4 * ROWS_MAX
    assert shown["apps"][0].minute_remaining == 0


def test_the_totals_are_of_all() -> None:
    views = (tenant_view("a", in_flight=2), tenant_view("b", in_flight=3))
    shown = shown_of(status(Snapshot(tenants=views, holds=(OFFLINE,), waiting=7)))
    assert shown["totals"] == {"organisations": 2, "holds": 1, "waiting": 7, "in_flight": 5}


@pytest.mark.parametrize(
    ("draining", "ready", "state"),
    [(False, True, "ready"), (False, False, "not ready"), (True, False, "draining")],
)
def test_it_says_whether_requests_are_accepted(draining: bool, ready: bool, state: str) -> None:
    assert shown_of(status(Snapshot(draining=draining), ready=ready))["state"] == state


def test_it_says_that_the_shared_store_is_away() -> None:
    away = Snapshot(store=StoreView("redis", up=False, trouble="timeout"))
    assert shown_of(status(away))["state"] == "store away"


@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_policy_names_the_one_script_and_the_one_style(tag: str) -> None:
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", PAGE.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'; " in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_the_page_names_no_other_host_and_makes_no_markup() -> None:
    text = PAGE.decode()
    others = set(re.findall(r"(?:https?:)?//[\w.-]+", text)) - {
        "http://www.w3.org"
    }  # a namespace, not a place
    assert not {other for other in others if not other.startswith("// ")}
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "style=",
        "onclick=",
    ):
        assert sink not in text
