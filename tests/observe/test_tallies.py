from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as TheirCounter
from prometheus_client import Histogram as TheirHistogram
from prometheus_client.registry import Collector

from proxy.observe.tallies import Metrics

BOUNDS = (0.25, 1.0, 2.5)
OBSERVED = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([0, 0.25, 0.5, 1, 2.5, 9])))


def samples(registry: Collector) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


@given(OBSERVED)
def test_what_is_shown_is_what_the_library_shows(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = Metrics(ours)
    counters, histograms = metrics.counters("c", "C.", "l"), metrics.histograms("h", "H.", BOUNDS, "l")
    counter = TheirCounter("xero_proxy_c", "C.", ["l"], registry=theirs)
    histogram = TheirHistogram("xero_proxy_h_seconds", "H.", ["l"], registry=theirs, buckets=BOUNDS)
    for label, value in observed:
        counters[label,].inc(value)
        counter.labels(label).inc(value)
        histograms[label,].observe(value)
        histogram.labels(label).observe(value)
    assert samples(ours) == samples(theirs)


def test_a_metric_without_values_is_described_all_the_same() -> None:
    registry = CollectorRegistry()
    Metrics(registry).counters("c", "Things.", "l")
    assert [(metric.name, metric.documentation, metric.samples) for metric in registry.collect()] == [
        ("xero_proxy_c", "Things.", [])
    ]


def test_an_amount_is_added_once() -> None:
    registry = CollectorRegistry()
    tallies = Metrics(registry).counters("c", "Things.", "number")
    tallies[200,].inc(3)
    tallies[200,].inc()
    assert samples(registry) == {("xero_proxy_c_total", frozenset({("number", "200")})): pytest.approx(4)}
