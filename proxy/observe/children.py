"""prometheus_client's counters and histograms, whose children are kept at hand.

`labels` looks a child up under a lock and makes text of each value: a request that counts nine things would
pay more for that than for its permit. When a series began is not shown, as a scrape tells that well enough.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped

M = TypeVar("M", Counter, Histogram)
Values = tuple[str | int, ...]


class Children(dict[Values, M], Generic[M]):
    """The children of one metric by their label values, each made when it is first asked for; without labels
    the metric itself, which is there from the start.
    """

    def __init__(self, metric: M, *, labelled: bool) -> None:
        super().__init__()
        self._metric: M = metric
        if not labelled:
            self[()] = metric

    def __missing__(self, values: Values) -> M:
        child: M = self._metric.labels(*values)
        self[values] = child
        return child


def counters(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Children[Counter]:
    """A counter; `text` is a sentence that says what it counts, `name` lacks prefix and suffix."""
    return Children(Counter(f"xero_proxy_{name}", text, labels, registry=registry), labelled=bool(labels))


def histograms(
    registry: CollectorRegistry, name: str, text: str, bounds: tuple[float, ...], *labels: str
) -> Children[Histogram]:
    """A histogram of seconds."""
    metric = Histogram(f"xero_proxy_{name}_seconds", text, labels, registry=registry, buckets=bounds)
    return Children(metric, labelled=bool(labels))
