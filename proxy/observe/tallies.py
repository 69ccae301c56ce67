"""Counters and histograms that cost a request little: plain numbers, made into metrics at a scrape.

The library's own lock for each step and look at each bucket: a request that counts nine things paid more for
that than for its permit. Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from math import inf
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        self.value += amount


class Histogram:
    """How many observations were at most each of `bounds`, and beyond; and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


M = TypeVar("M", Counter, Histogram)
Values = tuple[str | int, ...]


class Tallies(dict[Values, M], Generic[M]):
    """One metric: a number for each combination of label values, made when it is first asked for."""

    def __init__(self, make: Callable[[], M]) -> None:
        super().__init__()
        self._make: Callable[[], M] = make

    def __missing__(self, values: Values) -> M:
        made: M = self._make()
        self[values] = made
        return made


class Metrics(Collector):
    """Makes metrics, and shows them to `registry`. Names lack the prefix and what their kind appends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._show: list[Callable[[], Metric]] = []
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        return (show() for show in self._show)

    def counters(self, name: str, text: str, *labels: str) -> Tallies[Counter]:
        """A counter for each combination of `labels`; `text` is a sentence that says what it counts."""
        tallies = Tallies(Counter)

        def show() -> Metric:
            metric = CounterMetricFamily(f"xero_proxy_{name}", text, labels=labels)
            for values, counter in tallies.items():
                metric.add_metric(list(map(str, values)), counter.value)
            return metric

        self._show.append(show)
        return tallies

    def histograms(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Tallies[Histogram]:
        """A histogram of seconds for each combination of `labels`."""
        tallies = Tallies(lambda: Histogram(bounds))
        shown = [floatToGoString(bound) for bound in (*bounds, inf)]  # type: ignore[no-untyped-call]  # the library left it untyped

        def show() -> Metric:
            metric = HistogramMetricFamily(f"xero_proxy_{name}_seconds", text, labels=labels)
            for values, histogram in tallies.items():
                buckets = list(zip(shown, accumulate(histogram.counts), strict=True))
                metric.add_metric(list(map(str, values)), buckets, histogram.total)
            return metric

        self._show.append(show)
        return tallies
