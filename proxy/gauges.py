"""What the scheduler knows at the moment of a scrape, as metrics: lines, budgets, holds; and lost log lines.

Nothing is kept up to date between scrapes. Several organisations can share one label value (the same one
under several apps, the many beyond the bound), so values are joined as their meaning asks: lines add up, of
ages and holds the longest counts, of budgets the smallest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from proxy.core.model import Limit, Scope, Snapshot

EVERYBODY = "*"
"""The tenant label of what concerns an app or an API, not one organisation."""


class Gauges(Collector):
    """Asks `snapshot` at each scrape, in the scraping thread; `dropped` gives the log lines lost so far."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], tenants: Callable[[str], str], dropped: Callable[[], int]
    ) -> None:
        self._snapshot = snapshot
        self._tenants = tenants
        self._dropped = dropped

    def describe(self) -> Iterable[Metric]:
        """Names alone, for the registry's check for duplicates: `snapshot` is not to be asked yet."""
        return self._families(Snapshot())

    def collect(self) -> Iterable[Metric]:
        """The metrics of this moment."""
        return self._families(self._snapshot())

    def _families(self, snapshot: Snapshot) -> Iterator[Metric]:
        names = [self._tenants(view.tenant) for view in snapshot.tenants]
        views = list(zip(names, snapshot.tenants, strict=True))
        yield _gauge(
            "queue_depth", "Waiting requests.", ["tenant"], _joined(((n,), v.queued) for n, v in views)
        )
        yield _gauge(
            "queue_oldest_seconds",
            "Age of the oldest waiting request.",
            ["tenant"],
            _joined((((n,), v.oldest_seconds) for n, v in views), max),
        )
        yield _gauge(
            "in_flight", "Requests at Xero.", ["tenant"], _joined(((n,), v.in_flight) for n, v in views)
        )
        yield _gauge(
            "limit_remaining",
            "Calls that may still be sent now.",
            ["tenant", "limit"],
            _joined(self._budgets(snapshot, names), min),
        )
        yield _gauge(
            "hold_seconds",
            "Time left of a hold.",
            ["tenant", "reason"],
            _joined(self._holds(snapshot), max),
        )
        store = snapshot.store
        yield _gauge(
            "store_up",
            "1 where limits and holds can be kept, 0 where the process goes on alone.",
            ["kind"],
            {(store.kind,): float(store.up)},
        )
        yield _gauge(
            "store_replicas",
            "Processes that share the limits, as far as this one knows.",
            [],
            {(): store.replicas},
        )
        yield _gauge(
            "connections_lost",
            "Connections that Xero refuses.",
            ["tenant", "reason"],
            _joined(
                ((self._tenants(lost.tenant) if lost.tenant else EVERYBODY, lost.reason), 1)
                for lost in snapshot.connections
            ),
        )
        yield CounterMetricFamily(
            "xero_proxy_log_dropped", "Log lines that nobody took in time.", self._dropped()
        )

    def _budgets(self, snapshot: Snapshot, names: list[str]) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, view in zip(names, snapshot.tenants, strict=True):
            yield (name, Limit.MINUTE.value), view.minute_remaining
            yield (name, Limit.DAY.value), view.day_remaining
        for app in snapshot.apps:
            yield (EVERYBODY, Limit.APP_MINUTE.value), app.minute_remaining

    def _holds(self, snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], float]]:
        for hold in snapshot.holds:
            of_one = hold.key.scope is Scope.TENANT
            yield (self._tenants(hold.key.tenant) if of_one else EVERYBODY, hold.reason), hold.seconds


def _add(one: float, other: float) -> float:
    return one + other


def _joined(
    samples: Iterable[tuple[tuple[str, ...], float]], join: Callable[[float, float], float] = _add
) -> dict[tuple[str, ...], float]:
    values: dict[tuple[str, ...], float] = {}
    for labels, value in samples:
        values[labels] = join(values[labels], value) if labels in values else value
    return values


def _gauge(
    name: str, text: str, labels: list[str], values: dict[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"xero_proxy_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
