from collections.abc import Iterable

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from proxy.admin.exposition import exposition
from proxy.observe.steps import STEP, whole

OPEN = "application/openmetrics-text"


class Kept(Collector):
    """Gives the same object at each scrape."""

    def __init__(self) -> None:
        self._family = GaugeMetricFamily("kept", "More than a slice.", labels=["number"])
        for number in range(2 * STEP):
            self._family.add_metric([str(number)], number)

    def collect(self) -> Iterable[Metric]:
        return [self._family]


@pytest.fixture
def registry() -> CollectorRegistry:
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped
    registry = CollectorRegistry()
    registry.register(Kept())
    Gauge("empty", "No series yet.", ["tenant"], registry=registry)
    Gauge("single", "One # series.", registry=registry).set(1)
    many = Counter("many", "More than a slice.", ["tenant"], registry=registry)
    waits = Histogram("waits", "Slices end inside one histogram.", ["tenant"], registry=registry)
    for number in range(3 * STEP + 1):
        many.labels(f"# {number}\n").inc()
        waits.labels(str(number)).observe(number)
    return registry


def test_the_slices_make_up_the_librarys_own_text(registry: CollectorRegistry) -> None:
    content_type, steps = exposition(registry.collect(), "text/plain")
    assert whole(steps) == generate_latest(registry)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_the_slices_make_up_open_metrics_on_request(registry: CollectorRegistry) -> None:
    content_type, steps = exposition(registry.collect(), f"text/plain;q=0.1,{OPEN};version=1.0.0")
    theirs = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # the library left it untyped
    assert whole(steps) == theirs
    assert content_type == f"{OPEN}; version=1.0.0; charset=utf-8"


def test_no_step_is_long(registry: CollectorRegistry) -> None:
    _, steps = exposition(registry.collect(), "")
    series = generate_latest(registry).count(b"\n")
    assert sum(1 for _ in steps) >= series / (STEP + 2)


def test_a_second_scrape_is_as_whole_as_the_first(registry: CollectorRegistry) -> None:
    """The slices must not change what a collector keeps from scrape to scrape."""
    first = whole(exposition(registry.collect(), "")[1])
    assert whole(exposition(registry.collect(), "")[1]) == first


@pytest.mark.parametrize(
    "accept", ["", "*/*", f"{OPEN}; version=abc", f"{OPEN};version=99", "text/plain;version=x", "\xff;;,="]
)
def test_any_accept_header_gets_metrics(accept: str, registry: CollectorRegistry) -> None:
    content_type, steps = exposition(registry.collect(), accept)
    assert b"single 1.0\n" in whole(steps)
    assert content_type.startswith((f"{OPEN}; version=1.0.0", "text/plain; version=0.0.4"))
