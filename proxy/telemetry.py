"""What is counted and logged about requests: the record of one, its line, and the metrics.

Metrics are Prometheus', on a registry of their own. Paths never become labels, and whatever a caller chooses
(its organisation, its method) becomes one of a bounded set of values, so that no traffic can grow memory.

What the scheduler knows at the moment of a scrape (depths, budgets, holds) is read then, by `proxy.gauges`.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, GCCollector, Info, PlatformCollector, ProcessCollector

from config.values import TenantLabel
from proxy.core.connections import ConnectionChange
from proxy.core.holds import HoldAction, HoldChange
from proxy.core.model import Route
from proxy.last_failures import LastFailures
from proxy.log import Log, printable
from proxy.tallies import Metrics

TENANTS_MAX = 500
OTHER = "other"
FIRST_FAILURE = 400
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
QUEUE_BUCKETS = (0.001, 0.01, 0.05, 0.25, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 330, 660)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
UPSTREAM_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60, 120, 330)


@dataclass(slots=True)
class Record:
    """What is known of one request, filled in as it goes along; written once, at its end.

    `arrived` is on the clock's scale, sizes are bytes of bodies. `tenant` is empty where the request belongs
    to no organisation. `limit` is the limit or the reason of the hold that blocked longest, `error` a type of
    RFC 9209, `gone_at` the stage in which the caller left; each is empty where there is none. `received` is
    the upstream's status.
    """

    id: str
    arrived: float
    method: str
    app: str = ""
    tenant: str = ""
    api: str = OTHER
    route: str = ""
    status: int = 0
    class_: str = ""
    attempts: int = 0
    queue_seconds: float = 0.0
    upstream_seconds: float = 0.0
    limit: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    correlation_id: str = ""
    error: str = ""
    gone_at: str = ""
    received: int | None = None

    def routed(self, route: Route) -> None:
        """Note where the request goes and whose it is."""
        self.app, self.tenant = route.app, route.tenant or ""
        self.api, self.route = route.api, route.template

    def concluded(self, class_: str, status: int, error: str = "") -> None:
        """Note the answer."""
        self.class_, self.status, self.error = class_, status, error


def _to_microseconds(seconds: float) -> float:
    """As `round(seconds, 6)` for what is not negative, at a tenth of its cost."""
    return int(seconds * 1e6 + 0.5) / 1e6


class TenantNames:
    """Organisations as label values: at most `TENANTS_MAX` of them, first come, the rest as `other`.

    The value is empty, which Prometheus takes for no label, where there is no organisation to name.
    """

    def __init__(self, mode: TenantLabel) -> None:
        self._mode = mode
        self._names: dict[str, str] = {"": ""}

    def __call__(self, tenant: str) -> str:
        """The label value of one organisation."""
        name = self._names.get(tenant)
        if name is not None:
            return name
        if self._mode is TenantLabel.NONE:
            return ""
        if len(self._names) > TENANTS_MAX:
            return OTHER
        if self._mode is TenantLabel.HASH:
            name = hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        else:
            name = printable(tenant)
        self._names[tenant] = name
        return name


class Telemetry:
    """Everything about requests that operators see. `tenants` is shared with `proxy.gauges`, `failures` with
    the status page.
    """

    def __init__(
        self, registry: CollectorRegistry, log: Log, tenant_label: TenantLabel, version: str
    ) -> None:
        self.tenants = TenantNames(tenant_label)
        self.failures = LastFailures()
        self._log = log
        _describe_process(registry, version)
        metrics = Metrics(registry)
        counters = metrics.counters
        self._requests = counters("requests", "Requests answered", "api", "method", "status", "class")
        self._attempts = counters("attempts", "Attempts by the class of their outcome", "api", "class")
        self._retries = counters("retries", "Repeated attempts by what they repeat", "class")
        self._suppressed = counters("retries_suppressed", "Repetitions not made", "reason")
        self._shed = counters("shed", "Requests refused without a send", "reason")
        self._disconnects = counters("client_disconnects", "Callers that left before the end", "stage")
        self._holds = counters("holds", "Holds begun", "reason")
        self._foreign = counters("foreign_calls", "Calls that others made on the same limit", "tenant")
        self._bytes = counters("response_bytes", "Bytes of bodies sent to callers", "tenant", "api")
        self._token_answers = counters("token_answers", "Answers to refreshes and grants", "source")
        self._duration = metrics.histograms("request_duration", "Arrival to answer", REQUEST_BUCKETS, "api")
        self._upstream = metrics.histograms("upstream_duration", "One attempt", UPSTREAM_BUCKETS, "api")
        self._queue = metrics.histograms(
            "queue_wait", "Waiting, by the limit or hold that blocked longest", QUEUE_BUCKETS, "limit"
        )

        lag = "How late the event loop was while callers were connected"
        self.loop_lag = metrics.histograms("event_loop_lag", lag, LAG_BUCKETS)[()].observe

    def request(self, record: Record, seconds: float) -> None:
        """Count a request that has ended, `seconds` after it arrived, and write its line."""
        if record.status >= FIRST_FAILURE or record.error:
            ended = record.arrived + seconds
            self.failures.note(record.app, record.tenant, record.class_, record.status, ended)
        method = record.method if record.method in METHODS else OTHER
        status = record.status if 100 <= record.status <= 599 else OTHER
        self._requests[record.api, method, status, record.class_].inc()
        self._duration[record.api,].observe(seconds)
        self._queue[record.limit or "none",].observe(record.queue_seconds)
        if record.bytes_out:
            self._bytes[self.tenants(record.tenant), record.api].inc(record.bytes_out)
        self._log.request(
            {
                "time": self._log.time(),
                "level": "info",
                "event": "request",
                "request_id": record.id,
                "app": record.app,
                "tenant": record.tenant,
                "api": record.api,
                "method": record.method,
                "route": record.route,
                "status": record.status,
                "class": record.class_,
                "attempts": record.attempts,
                "seconds": _to_microseconds(seconds),
                "queue_seconds": _to_microseconds(record.queue_seconds),
                "upstream_seconds": _to_microseconds(record.upstream_seconds),
                "limit": record.limit,
                "bytes_in": record.bytes_in,
                "bytes_out": record.bytes_out,
                "xero_correlation_id": record.correlation_id,
                "error": record.error,
                "gone_at": record.gone_at,
            }
        )

    def attempt(self, api: str, class_name: str, seconds: float) -> None:
        """One attempt has ended."""
        self._attempts[api, class_name].inc()
        self._upstream[api,].observe(seconds)

    def retry(self, class_name: str) -> None:
        """An outcome of this class is followed by another attempt."""
        self._retries[class_name,].inc()

    def retry_suppressed(self, reason: str) -> None:
        """An outcome could have been tried again and was not."""
        self._suppressed[reason,].inc()

    def shed(self, reason: str) -> None:
        """A request was refused without a send."""
        self._shed[reason,].inc()

    def disconnect(self, stage: str) -> None:
        """A caller left."""
        self._disconnects[stage,].inc()

    def foreign_calls(self, tenant: str, calls: int) -> None:
        """Others were found to have made `calls` on an organisation's limit."""
        self._foreign[self.tenants(tenant),].inc(calls)

    def hold_changed(self, change: HoldChange, seconds: float) -> None:
        """Write the line of a hold that changed; `seconds` is the time left. Warnings, so that they remain
        where the lines of requests are filtered out.
        """
        if change.action is HoldAction.BEGUN:
            self._holds[change.reason,].inc()
        key = change.key
        self._log.warning(
            "hold",
            action=change.action.value,
            scope=key.scope.value,
            app=key.app,
            tenant=key.tenant,
            api=key.api,
            reason=change.reason,
            seconds=round(seconds, 3),
        )

    def token_answer(self, source: str) -> None:
        """A request for tokens was answered by a call of its own, by a shared one, or with what was kept."""
        self._token_answers[source,].inc()

    def connection_changed(self, change: ConnectionChange) -> None:
        """Write the line of a connection that Xero refuses, or serves again."""
        self._log.warning(
            "connection",
            action="lost" if change.lost else "restored",
            app=change.app,
            tenant=change.tenant,
            reason=change.reason,
        )


def _describe_process(registry: CollectorRegistry, version: str) -> None:
    build = Info("xero_proxy_build", "What runs.", registry=registry)
    build.info({"version": version, "python": platform.python_version()})
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
