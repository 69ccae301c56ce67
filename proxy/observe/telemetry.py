"""What is counted and logged about requests: the record of one, its line, and the metrics.

Metrics are Prometheus', on a registry of their own. Paths never become labels, and whatever a caller chooses
(its organisation, its method) becomes one of a bounded set of values, so that no traffic can grow memory.

What the scheduler knows at the moment of a scrape (depths, budgets, holds) is read then, by `gauges`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, GCCollector, Info, PlatformCollector, ProcessCollector

from config.values import TenantLabel
from proxy.core.answers.tried import Tried
from proxy.core.limits.holds import HoldAction, HoldChange
from proxy.core.model import LimitChange, Route
from proxy.core.tokens.connections import ConnectionChange
from proxy.observe import children
from proxy.observe.label_names import OTHER, TenantNames
from proxy.observe.last_failures import LastFailures
from proxy.observe.log import Log

FIRST_FAILURE = 400
SPOOL_SILENCE_SECONDS = 60.0
FIRST_FAILURE_OF_OURS = 500
TOO_MANY_REQUESTS = 429
INTERNAL = "internal"
CALLERS_FAULT = "http_request_error"
"""What RFC 9209 calls a request that is no good."""
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
    RFC 9209, `detail` what went wrong with the last attempt, `gone_at` the stage in which the caller left;
    each is empty where there is none. `received` is the upstream's status. Of `attempts`, each of which used
    a permit, `sends` left this process.
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
    sends: int = 0
    queue_seconds: float = 0.0
    upstream_seconds: float = 0.0
    limit: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    correlation_id: str = ""
    error: str = ""
    detail: str = ""
    gone_at: str = ""
    received: int | None = None

    def routed(self, route: Route) -> None:
        """Note where the request goes and whose it is."""
        self.app, self.tenant = route.app, route.tenant or ""
        self.api, self.route = route.api, route.template

    def tried(self, tried: Tried) -> None:
        """Note what came of all attempts, and what was waited for."""
        self.attempts, self.sends = tried.attempts, tried.sends
        self.upstream_seconds, self.received = tried.upstream_seconds, tried.received
        self.correlation_id, self.detail = tried.correlation_id, tried.detail
        if waited := tried.waited:
            self.queue_seconds = sum(waited.values(), 0.0)
            self.limit = max(waited, key=lambda limit: waited[limit])

    def concluded(self, class_: str, status: int, error: str = "") -> None:
        """Note the answer."""
        self.class_, self.status, self.error = class_, status, error


def _level(record: Record) -> str:
    """Of the line of a request: a warning where it failed at Xero's or the proxy's side, whatever became of
    it, and an error where that is a bug.
    """
    if record.class_ == INTERNAL:
        return "error"
    if record.error == CALLERS_FAULT:
        return "info"
    failed = record.status >= FIRST_FAILURE_OF_OURS or record.status == TOO_MANY_REQUESTS
    cut_short = record.error and record.status < FIRST_FAILURE
    return "warning" if failed or cut_short else "info"


def _to_microseconds(seconds: float) -> float:
    """As `round(seconds, 6)` for what is not negative, at a tenth of its cost."""
    return int(seconds * 1e6 + 0.5) / 1e6


class Telemetry:
    """Everything about requests that operators see. `tenants` is shared with the gauges, `failures` with the
    status page.
    """

    def __init__(
        self, registry: CollectorRegistry, log: Log, tenant_label: TenantLabel, version: str
    ) -> None:
        self.tenants = TenantNames(tenant_label)
        self.failures = LastFailures()
        self._spool_silent_until = 0.0
        self._log = log
        _describe_process(registry, version)
        counters, histograms = partial(children.counters, registry), partial(children.histograms, registry)
        self._requests = counters(
            "requests",
            "Requests that callers were answered, or that they gave up.",
            "api",
            "method",
            "status",
            "class",
        )
        self._attempts = counters(
            "attempts",
            "Attempts at a call to Xero, sent or not, by the class of the answer or failure.",
            "api",
            "class",
        )
        self._sends = counters("sends", "How often a call was sent to Xero.", "api")
        self._retries = counters(
            "retries", "Attempts that were repeated, by what they had ended with.", "class"
        )
        self._suppressed = counters(
            "retries_suppressed",
            "Attempts that failed and were not repeated, by what forbade it.",
            "reason",
        )
        self._shed = counters(
            "shed", "Requests that the proxy refused to let wait any longer, by the reason.", "reason"
        )
        self._disconnects = counters(
            "client_disconnects", "Callers that left before they had their answer, by the stage.", "stage"
        )
        self._holds = counters(
            "holds",
            "How often an organisation, an app or an API was stopped for a while, by the reason.",
            "reason",
        )
        self._foreign = counters(
            "foreign_calls", "Calls that somebody else was found to make on the same limit.", "tenant"
        )
        self._bytes = counters(
            "response_bytes", "Bytes of answers' bodies that were sent to callers.", "tenant", "api"
        )
        self._token_answers = counters(
            "token_answers", "Answers to requests for tokens, by where they came from.", "source"
        )
        self._duration = histograms(
            "request_duration",
            "Time from a request's arrival to the end of its answer.",
            REQUEST_BUCKETS,
            "api",
        )
        self._upstream = histograms(
            "upstream_duration", "Time that one attempt at a call to Xero took.", UPSTREAM_BUCKETS, "api"
        )
        self._queue = histograms(
            "queue_wait",
            "Time that a request waited in the proxy, by the limit or hold that it waited for longest.",
            QUEUE_BUCKETS,
            "limit",
        )
        lag = "How late the process did what was due while callers were connected."
        self.loop_lag = histograms("event_loop_lag", lag, LAG_BUCKETS)[()].observe

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
        level = _level(record)
        if not self._log.writes(level):
            return
        write: Callable[..., None] = getattr(self._log, level)
        write(
            "request",
            request_id=record.id,
            app=record.app,
            tenant=record.tenant,
            api=record.api,
            method=record.method,
            route=record.route,
            status=record.status,
            **{"class": record.class_},
            attempts=record.attempts,
            sends=record.sends,
            seconds=_to_microseconds(seconds),
            queue_seconds=_to_microseconds(record.queue_seconds),
            upstream_seconds=_to_microseconds(record.upstream_seconds),
            limit=record.limit,
            bytes_in=record.bytes_in,
            bytes_out=record.bytes_out,
            xero_correlation_id=record.correlation_id,
            error=record.error,
            detail=record.detail,
            gone_at=record.gone_at,
        )

    def attempt(self, api: str, class_name: str, seconds: float, *, sent: bool = True) -> None:
        """One attempt has ended."""
        self._attempts[api, class_name].inc()
        if sent:
            self._sends[api,].inc()
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

    def limit_changed(self, change: LimitChange) -> None:
        """Write the line of a limit that is spent, or has room again."""
        self._log.warning(
            "limit",
            action="spent" if change.spent else "room",
            limit=change.limit,
            app=change.app,
            tenant=change.tenant,
        )

    def spool_full(self, error: OSError, held: int, now: float) -> None:
        """Write a line, at most one a minute, that no more can wait on disk, where `held` bytes do."""
        if now >= self._spool_silent_until:
            self._spool_silent_until = now + SPOOL_SILENCE_SECONDS
            self._log.warning("spool_full", reason=error.strerror or str(error), bytes=held)

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
    build = Info("xero_proxy_build", "The versions of the proxy and of Python that run.", registry=registry)
    build.info({"version": version, "python": platform.python_version()})
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
