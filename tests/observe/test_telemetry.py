from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from config.values import TenantLabel
from proxy.core.limits.holds import HoldAction, HoldChange
from proxy.core.model import Host, LimitChange, Route
from proxy.observe.label_names import TENANTS_MAX, TenantNames
from proxy.observe.telemetry import Record
from tests.operators import TENANT_HOLD, Operators, record, use_everything

CONTRACT = {
    "requests_total": ("counter", {"api", "method", "status", "class"}),
    "attempts_total": ("counter", {"api", "class"}),
    "sends_total": ("counter", {"api"}),
    "retries_total": ("counter", {"class"}),
    "retries_suppressed_total": ("counter", {"reason"}),
    "request_duration_seconds": ("histogram", {"api"}),
    "upstream_duration_seconds": ("histogram", {"api"}),
    "queue_wait_seconds": ("histogram", {"limit"}),
    "queue_depth": ("gauge", {"tenant"}),
    "queue_oldest_seconds": ("gauge", {"tenant"}),
    "in_flight": ("gauge", {"tenant"}),
    "shed_total": ("counter", {"reason"}),
    "client_disconnects_total": ("counter", {"stage"}),
    "limit": ("gauge", {"tenant", "limit"}),
    "limit_remaining": ("gauge", {"app", "tenant", "limit"}),
    "max_wait_seconds": ("gauge", set()),
    "hold_seconds": ("gauge", {"tenant", "reason"}),
    "holds_total": ("counter", {"reason"}),
    "foreign_calls_total": ("counter", {"tenant"}),
    "token_answers_total": ("counter", {"source"}),
    "connections_lost": ("gauge", {"tenant", "reason"}),
    "response_bytes_total": ("counter", {"tenant", "api"}),
    "build_info": ("gauge", {"version", "python"}),
    "spool_bytes": ("gauge", set()),
    "log_dropped_total": ("counter", set()),
    "event_loop_lag_seconds": ("histogram", set()),
    "store_up": ("gauge", {"kind"}),
    "store_replicas": ("gauge", set()),
    "store_operations_total": ("counter", {"operation", "outcome"}),
    "store_operation_duration_seconds": ("histogram", {"operation"}),
    "store_errors_total": ("counter", {"reason"}),
    "store_fallback_seconds_total": ("counter", set()),
    "store_leases_lost_total": ("counter", set()),
}
REQUEST_FIELDS = """
    time level event request_id app tenant api method route status class attempts sends seconds
    queue_seconds
    upstream_seconds limit bytes_in bytes_out xero_correlation_id error detail gone_at
""".split()  # noqa: SIM905 - as a list it is 20 lines


@pytest.fixture
def operators() -> Iterator[Operators]:
    with closing(Operators()) as operators:
        yield operators


@pytest.mark.parametrize(("name", "kind", "labels"), [(name, *shape) for name, shape in CONTRACT.items()])
def test_a_scrape_has_every_metric_of_the_contract(
    name: str, kind: str, labels: set[str], operators: Operators
) -> None:
    use_everything(operators)
    text = generate_latest(operators.registry).decode()
    assert f"# TYPE xero_proxy_{name} {kind}\n" in text
    series = f"xero_proxy_{name}" + ("_count" if kind == "histogram" else "")
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == series
    ]
    assert samples
    assert {frozenset(sample.labels) for sample in samples} == {frozenset(labels)}


def test_a_scrape_has_nothing_of_the_proxys_own_beside_the_contract(operators: Operators) -> None:
    use_everything(operators)
    text = generate_latest(operators.registry).decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE xero_proxy_")}
    assert names == {f"xero_proxy_{name}" for name in CONTRACT}


def test_the_process_is_described(operators: Operators) -> None:
    text = generate_latest(operators.registry).decode()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "python_info", "python_gc_"):
        assert name in text


def test_a_request_is_counted_once_everywhere(operators: Operators) -> None:
    use_everything(operators)
    assert operators.samples("requests_total") == {
        (("api", "accounting"), ("class", "ok"), ("method", "GET"), ("status", "200")): 1
    }
    assert operators.samples("request_duration_seconds_count") == {(("api", "accounting"),): 1}
    assert operators.samples("request_duration_seconds_sum") == {(("api", "accounting"),): 0.2}
    assert operators.samples("queue_wait_seconds_count") == {(("limit", "none"),): 1}
    assert operators.samples("response_bytes_total") == {(("api", "accounting"), ("tenant", "acme")): 10}
    assert operators.samples("attempts_total") == {(("api", "accounting"), ("class", "ok")): 1}
    assert operators.samples("upstream_duration_seconds_sum") == {(("api", "accounting"),): 0.1}
    assert operators.samples("foreign_calls_total") == {(("tenant", "acme"),): 3}


def test_the_wait_is_counted_under_the_limit_that_blocked(operators: Operators) -> None:
    operators.telemetry.request(record(limit="minute", queue_seconds=42.0), 43.0)
    assert operators.samples("queue_wait_seconds_sum") == {(("limit", "minute"),): 42.0}


def test_waits_as_long_as_a_hold_fall_into_a_bucket(operators: Operators) -> None:
    operators.telemetry.request(record(limit="offline", queue_seconds=299.0), 500.0)
    operators.telemetry.attempt("accounting", "timeout", 329.0)
    for name, limit in (
        ("queue_wait", "300.0"),
        ("request_duration", "660.0"),
        ("upstream_duration", "330.0"),
    ):
        buckets = operators.samples(f"{name}_seconds_bucket")
        assert [value for labels, value in buckets.items() if dict(labels)["le"] == limit] == [1]


def test_a_method_or_status_out_of_the_ordinary_makes_no_series_of_its_own(operators: Operators) -> None:
    for number in range(1000):
        operators.telemetry.request(record(method=f"M{number}", status=number + 600), 0.0)
    operators.telemetry.request(record(method="BREW", status=0), 0.0)
    assert operators.samples("requests_total") == {
        (("api", "accounting"), ("class", "ok"), ("method", "other"), ("status", "other")): 1001
    }


def test_the_request_line_says_what_the_contract_lists(operators: Operators) -> None:
    operators.telemetry.request(
        record(
            attempts=2,
            sends=1,
            queue_seconds=1.5,
            upstream_seconds=0.25,
            limit="minute",
            bytes_in=3,
            bytes_out=4,
            correlation_id="c0ffee",
            error="connection_terminated",
            detail="api.xero.com could not be resolved.",
            gone_at="queue",
        ),
        1.8,
    )
    (line,) = operators.lines()
    assert list(line) == REQUEST_FIELDS
    del line["time"]
    assert line == {
        "level": "warning",
        "event": "request",
        "request_id": "0123456789abcdef",
        "app": "app",
        "tenant": "acme",
        "api": "accounting",
        "method": "GET",
        "route": "/api.xro/2.0/Invoices/{id}",
        "status": 200,
        "class": "ok",
        "attempts": 2,
        "sends": 1,
        "seconds": 1.8,
        "queue_seconds": 1.5,
        "upstream_seconds": 0.25,
        "limit": "minute",
        "bytes_in": 3,
        "bytes_out": 4,
        "xero_correlation_id": "c0ffee",
        "error": "connection_terminated",
        "detail": "api.xero.com could not be resolved.",
        "gone_at": "queue",
    }


@pytest.mark.parametrize(
    ("status", "class_", "error", "level"),
    [
        (200, "success", "", "info"),
        (404, "not_found", "", "info"),
        (401, "unauthorised", "", "info"),
        (401, "refused_expired", "http_request_denied", "info"),
        (400, "invalid_request", "http_request_error", "info"),
        (505, "invalid_request", "http_request_error", "info"),
        (499, "caller_left", "", "info"),
        (429, "limit_minute", "", "warning"),
        (429, "refused_day", "http_request_denied", "warning"),
        (500, "internal_error", "", "warning"),
        (503, "offline", "", "warning"),
        (503, "refused_offline", "destination_unavailable", "warning"),
        (502, "dns_failed", "dns_error", "warning"),
        (504, "outcome_unknown", "connection_terminated", "warning"),
        (200, "upstream_truncated", "http_response_incomplete", "warning"),
        (500, "internal", "proxy_internal_error", "error"),
    ],
)
def test_what_failed_at_xeros_or_the_proxys_side_is_a_warning_and_a_bug_is_an_error(
    status: int, class_: str, error: str, level: str, operators: Operators
) -> None:
    made = record()
    made.concluded(class_, status, error)
    operators.telemetry.request(made, 0.0)
    assert [line["level"] for line in operators.lines()] == [level]


def test_a_limit_that_is_spent_and_has_room_again_is_a_line_each(operators: Operators) -> None:
    for spent in (True, False):
        operators.telemetry.limit_changed(LimitChange("minute", "app", "acme", spent=spent))
    lines = operators.lines()
    assert [line["action"] for line in lines] == ["spent", "room"]
    del lines[0]["time"]
    assert lines[0] == {
        "level": "warning",
        "event": "limit",
        "action": "spent",
        "limit": "minute",
        "app": "app",
        "tenant": "acme",
    }


def test_every_help_text_is_a_sentence(operators: Operators) -> None:
    use_everything(operators)
    texts = {
        family.name: family.documentation
        for family in operators.registry.collect()
        if family.name.startswith("xero_proxy_")
    }
    for name, text in texts.items():
        assert text.endswith("."), name
        assert text[0].isupper() or text[0].isdigit(), name
        assert len(text.split()) >= 6, name
    assert len(set(texts.values())) == len(texts)


def test_a_request_that_belongs_to_no_organisation_has_an_empty_tenant(operators: Operators) -> None:
    made = Record(id="0", arrived=0.0, method="GET")
    made.routed(Route(Host.API, "connections", "app", None, limited=True, template="/connections"))
    made.concluded("ok", 200)
    made.bytes_out = 1
    operators.telemetry.request(made, 0.0)
    assert operators.samples("response_bytes_total") == {(("api", "connections"), ("tenant", "")): 1}
    assert operators.lines()[0]["tenant"] == ""


def test_each_change_of_a_hold_is_a_line_and_each_begin_counts(operators: Operators) -> None:
    for action in HoldAction:
        operators.telemetry.hold_changed(HoldChange(action, TENANT_HOLD, "offline", 0.0), 12.3456)
    lines = operators.lines()
    assert [line["action"] for line in lines] == [action.value for action in HoldAction]
    del lines[0]["time"]
    assert lines[0] == {
        "level": "warning",
        "event": "hold",
        "action": "begun",
        "scope": "tenant",
        "app": "app",
        "tenant": "acme",
        "api": "",
        "reason": "offline",
        "seconds": 12.346,
    }
    assert operators.samples("holds_total") == {(("reason", "offline"),): 1}


def test_a_million_organisations_are_at_most_so_many_label_values() -> None:
    names = TenantNames(TenantLabel.ID)
    values = {names(f"tenant-{number}") for number in range(1_000_000)}
    assert len(values) == TENANTS_MAX + 1
    assert "other" in values
    assert len(names._names) == TENANTS_MAX + 1
    assert names("tenant-7") == "tenant-7"


def test_organisations_can_be_hashed_in_metrics() -> None:
    """The first 12 digits of what `printf acme | sha256sum` prints."""
    names = TenantNames(TenantLabel.HASH)
    assert names("acme") == "822b33ad87c1"
    assert names("") == ""


def test_organisations_can_be_left_out_of_metrics() -> None:
    with closing(Operators(TenantLabel.NONE)) as operators:
        use_everything(operators)
        assert b"acme" not in generate_latest(operators.registry)
        assert operators.samples("queue_depth") == {(("tenant", ""),): 1}


@given(tenant=st.text(st.characters()), label=st.sampled_from(TenantLabel))
def test_any_tenant_makes_a_label_that_can_be_scraped(tenant: str, label: TenantLabel) -> None:
    assert TenantNames(label)(tenant).isprintable()


def test_the_beginning_of_a_series_is_no_series_of_its_own(operators: Operators) -> None:
    use_everything(operators)
    assert b"_created" not in generate_latest(operators.registry)
