from hypothesis import given
from hypothesis import strategies as st

from config.values import TenantLabel
from proxy.core.model import AppView, ConnectionView, HoldKey, HoldView, Scope, Snapshot, StoreView
from proxy.observe.gauges import Gauges, Names
from proxy.observe.label_names import TENANTS_MAX, TenantNames
from proxy.observe.steps import whole
from tests.operators import seen, tenant_view

Samples = dict[tuple[str, ...], float]


class AsTheyAre:
    def __call__(self, tenant: str) -> str:
        return tenant

    def app(self, app: str, _tenant: str) -> str:
        return app


def scrape(snapshot: Snapshot, names: Names | None = None) -> dict[str, Samples]:
    """Metric to label values to value; a series that appears twice is an error."""
    found: dict[str, Samples] = {}
    gauges = Gauges(lambda: seen(snapshot), names or AsTheyAre(), lambda: 7, lambda: 9, 90.0)
    for family in whole(gauges.metrics()):
        of_name = found.setdefault(family.name.removeprefix("xero_proxy_"), {})
        for sample in family.samples:
            key = tuple(sample.labels.values())
            assert key not in of_name
            of_name[key] = sample.value
    return found


def test_lost_log_lines_are_counted() -> None:
    assert (scrape(Snapshot())["log_dropped"], scrape(Snapshot())["spool_bytes"]) == ({(): 7}, {(): 9})


def test_the_store_tells_whether_it_is_there_and_for_how_many() -> None:
    found = scrape(Snapshot(store=StoreView("redis", up=False, trouble="timeout", replicas=3)))
    assert (found["store_up"], found["store_replicas"]) == ({("redis",): 0}, {(): 3})


def test_lost_connections_are_counted_by_organisation_and_reason() -> None:
    lost = (
        ConnectionView("app", "acme", "unauthorised", 1.0),
        ConnectionView("other", "acme", "unauthorised", 1.0),
        ConnectionView("app", "", "invalid_grant", 1.0),
    )
    found = scrape(Snapshot(connections=lost))["connections_lost"]
    assert found == {("acme", "unauthorised"): 2, ("*", "invalid_grant"): 1}


def test_one_organisation_under_two_apps_is_joined_as_the_meaning_asks() -> None:
    found = scrape(
        Snapshot(
            tenants=(
                tenant_view(app="a", queued=2, oldest_seconds=5.0, in_flight=1, minute_remaining=9),
                tenant_view(app="b", queued=3, oldest_seconds=4.0, in_flight=2, day_remaining=8),
            )
        )
    )
    assert found["queue_depth"] == {("acme",): 5}
    assert found["queue_oldest_seconds"] == {("acme",): 5.0}
    assert found["in_flight"] == {("acme",): 3}
    assert found["limit_remaining"] == {
        ("a", "acme", "minute"): 9,
        ("a", "acme", "day"): 5000,
        ("a", "acme", "concurrent"): 4,
        ("b", "acme", "minute"): 60,
        ("b", "acme", "day"): 8,
        ("b", "acme", "concurrent"): 3,
    }


def test_the_limits_are_shown_as_they_are_learned_and_of_several_the_smallest() -> None:
    found = scrape(
        Snapshot(
            tenants=(tenant_view(app="a", day_limit=1000), tenant_view(app="b", minute_limit=30)),
            apps=(AppView("a", 10_000, 7), AppView("b", 5_000, 4)),
        )
    )
    assert found["limit"] == {
        ("acme", "minute"): 30,
        ("acme", "day"): 1000,
        ("acme", "concurrent"): 5,
        ("*", "appminute"): 5000,
    }
    assert found["max_wait_seconds"] == {(): 90.0}


def test_the_budget_of_apps_and_the_holds_of_all_stand_under_a_star() -> None:
    found = scrape(
        Snapshot(
            apps=(AppView("a", 10, 7), AppView("b", 10, 4)),
            holds=(
                HoldView(HoldKey(Scope.APP, app="a"), "appminute", 20.0, probing=False),
                HoldView(HoldKey(Scope.API, api="accounting"), "maintenance", 3.0, probing=False),
                HoldView(HoldKey(Scope.API, api="files"), "maintenance", 9.0, probing=True),
                HoldView(HoldKey(Scope.TENANT, app="a", tenant="acme"), "offline", 300.0, probing=False),
            ),
        )
    )
    assert found["limit_remaining"] == {("a", "*", "appminute"): 7, ("b", "*", "appminute"): 4}
    assert found["hold_seconds"] == {
        ("*", "appminute"): 20.0,
        ("*", "maintenance"): 9.0,
        ("acme", "offline"): 300.0,
    }


def test_many_organisations_share_the_last_label_value() -> None:
    views = tuple(tenant_view(f"t{number}", queued=1, minute_remaining=number) for number in range(2000))
    found = scrape(Snapshot(tenants=views), TenantNames(TenantLabel.ID))
    assert len(found["queue_depth"]) == TENANTS_MAX + 1
    assert found["queue_depth"][("other",)] == 2000 - TENANTS_MAX
    assert found["limit_remaining"][("app", "other", "minute")] == TENANTS_MAX
    assert found["limit_remaining"][("other", "other", "minute")] == 2 * TENANTS_MAX


def test_however_many_apps_and_organisations_there_are_the_series_are_few() -> None:
    views = tuple(tenant_view(f"t{number}", app=f"a{number % 7 * 1000 + number}") for number in range(5000))
    apps = tuple(AppView(view.app, 100, 100) for view in views)
    found = scrape(Snapshot(tenants=views, apps=apps), TenantNames(TenantLabel.ID))
    assert len(found["limit_remaining"]) <= 4 * 4 * TENANTS_MAX
    hashed = scrape(Snapshot(tenants=(tenant_view(app="acme"),)), TenantNames(TenantLabel.HASH))
    assert {labels[:2] for labels in hashed["limit_remaining"]} == {("822b33ad87c1", "822b33ad87c1")}
    unnamed = scrape(Snapshot(tenants=(tenant_view(app="acme"),)), TenantNames(TenantLabel.NONE))
    assert {labels[:2] for labels in unnamed["limit_remaining"]} == {("", "")}


@given(
    queues=st.lists(st.tuples(st.text(st.characters(), max_size=3), st.integers(0, 9), st.integers(0, 60))),
    label=st.sampled_from(TenantLabel),
)
def test_whatever_the_labels_no_waiting_request_is_lost_and_no_budget_overstated(
    queues: list[tuple[str, int, int]], label: TenantLabel
) -> None:
    views = tuple(
        tenant_view(tenant, queued=queued, minute_remaining=left) for tenant, queued, left in queues
    )
    found = scrape(Snapshot(tenants=views), TenantNames(label))
    assert sum(found["queue_depth"].values()) == sum(queued for _, queued, _ in queues)
    minutes = [value for (*_, limit), value in found["limit_remaining"].items() if limit == "minute"]
    assert min(minutes, default=0) == min((left for _, _, left in queues), default=0)
