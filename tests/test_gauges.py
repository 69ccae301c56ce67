from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from config.values import TenantLabel
from proxy.core.model import AppView, ConnectionView, HoldKey, HoldView, Scope, Snapshot, StoreView
from proxy.gauges import Gauges
from proxy.telemetry import TENANTS_MAX, TenantNames
from tests.operators import tenant_view

Samples = dict[tuple[str, ...], float]


def scrape(snapshot: Snapshot, names: Callable[[str], str] = str) -> dict[str, Samples]:
    """Metric to label values to value; a series that appears twice is an error."""
    found: dict[str, Samples] = {}
    for family in Gauges(lambda: snapshot, names, lambda: 7).collect():
        of_name = found.setdefault(family.name.removeprefix("xero_proxy_"), {})
        for sample in family.samples:
            key = tuple(sample.labels.values())
            assert key not in of_name
            of_name[key] = sample.value
    return found


def test_nothing_is_asked_before_the_first_scrape() -> None:
    def snapshot() -> Snapshot:
        raise AssertionError

    CollectorRegistry().register(Gauges(snapshot, str, lambda: 0))


def test_lost_log_lines_are_counted() -> None:
    assert scrape(Snapshot())["log_dropped"] == {(): 7}


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
    assert found["limit_remaining"] == {("acme", "minute"): 9, ("acme", "day"): 8}


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
    assert found["limit_remaining"] == {("*", "appminute"): 4}
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
    assert found["limit_remaining"][("other", "minute")] == TENANTS_MAX


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
    minutes = [value for (_, limit), value in found["limit_remaining"].items() if limit == "minute"]
    assert min(minutes, default=0) == min((left for _, _, left in queues), default=0)
