"""What the scheduler knows at the moment of a scrape, as metrics: lines, budgets, holds; and lost log lines.

Nothing is kept up to date between scrapes. Several organisations can share one label value (the same one
under several apps, the many beyond the bound), so values are joined as their meaning asks: lines add up, of
ages and holds the longest counts, of budgets and limits the smallest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from proxy.core.model import Limit, Snapshot, TenantView
from proxy.observe.states import WIDE
from proxy.observe.steps import Steps, parts

EVERYBODY = "*"
"""The tenant label of what concerns an app or an API, not one organisation."""

Values = dict[tuple[str, ...], float]


class Names(Protocol):
    """Label values, of which there are not more than so many."""

    def __call__(self, tenant: str) -> str:
        """Of an organisation."""

    def app(self, app: str, tenant: str) -> str:
        """Of an app, where it uses the limits of an organisation."""


class Gauges:
    """Asks `look` at each scrape; `dropped` gives the log lines lost so far, `spooled` the bytes of bodies on
    disk now. `max_wait` is in seconds.
    """

    def __init__(
        self,
        look: Callable[[], Steps[Snapshot]],
        names: Names,
        dropped: Callable[[], int],
        spooled: Callable[[], int],
        max_wait: float,
    ) -> None:
        self._look = look
        self._names = names
        self._dropped = dropped
        self._spooled = spooled
        self._max_wait = max_wait

    def metrics(self) -> Steps[list[Metric]]:
        """The metrics of this moment."""
        snapshot = yield from self._look()
        joined = _Joined(self._names)
        for tenants in parts(snapshot.tenants):
            for view in tenants:
                joined.organisation(view)
            yield
        for apps in parts(snapshot.apps):
            for app in apps:
                limit = EVERYBODY, Limit.APP_MINUTE.value
                left = (self._names.app(app.app, EVERYBODY), *limit)
                _least(joined.limit, limit, app.minute_limit)
                _least(joined.remaining, left, app.minute_remaining)
            yield
        for holds in parts(snapshot.holds):
            for hold in holds:
                of_all = hold.key.scope in WIDE
                whom = EVERYBODY if of_all else self._names(hold.key.tenant)
                _most(joined.holds, (whom, hold.reason), hold.seconds)
            yield
        for lost in snapshot.connections:
            _add(joined.lost, (self._names(lost.tenant) if lost.tenant else EVERYBODY, lost.reason), 1)
        yield
        found: list[Metric] = []
        for name, text, labels, values in self._families(snapshot, joined):
            family = GaugeMetricFamily(f"xero_proxy_{name}", text, labels=labels)
            for key, value in values.items():
                family.add_metric(key, value)
            found.append(family)
            yield
        text = "Log lines that were lost because whoever reads the log did not take them in time."
        return [*found, CounterMetricFamily("xero_proxy_log_dropped", text, self._dropped())]

    def _families(
        self, snapshot: Snapshot, joined: _Joined
    ) -> tuple[tuple[str, str, tuple[str, ...], Values], ...]:
        store = snapshot.store
        return (
            (
                "queue_depth",
                "Requests that wait in the proxy for one of Xero's limits or for the end of a hold.",
                ("tenant",),
                joined.queued,
            ),
            (
                "queue_oldest_seconds",
                "For how long the oldest of the waiting requests has waited.",
                ("tenant",),
                joined.oldest,
            ),
            (
                "max_wait_seconds",
                "The longest that a request waits in the proxy, unless it says otherwise itself.",
                (),
                {(): self._max_wait},
            ),
            (
                "in_flight",
                "Requests that were sent to Xero and whose answers are not read to their end yet.",
                ("tenant",),
                joined.in_flight,
            ),
            (
                "limit",
                "Xero's limits as they are configured, or smaller where Xero's answers show them to be.",
                ("tenant", "limit"),
                joined.limit,
            ),
            (
                "limit_remaining",
                "How many calls may still be sent before the limit is reached.",
                ("app", "tenant", "limit"),
                joined.remaining,
            ),
            (
                "hold_seconds",
                "Seconds until a hold ends, which stops calls; 0 while one finds out whether it is over.",
                ("tenant", "reason"),
                joined.holds,
            ),
            (
                "store_up",
                "1 where limits and holds can be kept in the store, 0 where this process goes on by itself.",
                ("kind",),
                {(store.kind,): float(store.up)},
            ),
            (
                "store_replicas",
                "Sidecars that share the limits in the store, as far as this one knows.",
                (),
                {(): store.replicas},
            ),
            (
                "connections_lost",
                "Organisations and apps that Xero refuses until somebody connects them again.",
                ("tenant", "reason"),
                joined.lost,
            ),
            (
                "spool_bytes",
                "Bytes of uploads and answers that wait on disk, of at most SPOOL_MAX_BYTES.",
                (),
                {(): self._spooled()},
            ),
        )


class _Joined:
    """Values by their labels."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.queued: Values = {}
        self.oldest: Values = {}
        self.in_flight: Values = {}
        self.limit: Values = {}
        self.remaining: Values = {}
        self.holds: Values = {}
        self.lost: Values = {}

    def organisation(self, view: TenantView) -> None:
        """Join the lines and budgets of one organisation to those with the same labels."""
        name = self._names(view.tenant)
        _add(self.queued, (name,), view.queued)
        _most(self.oldest, (name,), view.oldest_seconds)
        _add(self.in_flight, (name,), view.in_flight)
        app = self._names.app(view.app, view.tenant)
        for limit, most, left in (
            (Limit.MINUTE.value, view.minute_limit, view.minute_remaining),
            (Limit.DAY.value, view.day_limit, view.day_remaining),
            (Limit.CONCURRENT.value, view.concurrent_limit, view.concurrent_limit - view.in_flight),
        ):
            _least(self.limit, (name, limit), most)
            _least(self.remaining, (app, name, limit), max(0, left))


def _add(values: Values, labels: tuple[str, ...], value: float) -> None:
    values[labels] = values.get(labels, 0) + value


def _most(values: Values, labels: tuple[str, ...], value: float) -> None:
    values[labels] = max(values.get(labels, value), value)


def _least(values: Values, labels: tuple[str, ...], value: float) -> None:
    values[labels] = min(values.get(labels, value), value)
