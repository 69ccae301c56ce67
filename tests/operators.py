"""What operators see of everything that is counted and logged, and a use of all of it."""

from __future__ import annotations

import json
from tempfile import TemporaryFile
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from config.values import TenantLabel
from proxy.core.limits.holds import HoldAction, HoldChange
from proxy.core.model import (
    AppView,
    ConnectionView,
    HoldKey,
    HoldView,
    Host,
    LimitChange,
    Route,
    Scope,
    Snapshot,
    TenantView,
)
from proxy.observe.gauges import Gauges
from proxy.observe.log import Log
from proxy.observe.steps import Steps, whole
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.observe.telemetry import Record, Telemetry

ROUTE = Route(Host.API, "accounting", "app", "acme", limited=True, template="/api.xro/2.0/Invoices/{id}")
TENANT_HOLD = HoldKey(Scope.TENANT, app="app", tenant="acme")


def tenant_view(tenant: str = "acme", app: str = "app", queued: int = 0, **other: Any) -> TenantView:
    fields = {
        "oldest_seconds": 0.0,
        "blocked_by": "",
        "next_seconds": None,
        "in_flight": 0,
        "concurrent_limit": 5,
        "minute_limit": 60,
        "minute_remaining": 60,
        "day_limit": 5000,
        "day_remaining": 5000,
        "foreign_calls": 0,
        **other,
    }
    return TenantView(app=app, tenant=tenant, queued=queued, **fields)


def seen(snapshot: Snapshot) -> Steps[Snapshot]:
    """A snapshot that is there already, in one step."""
    yield
    return snapshot


class Scraped(Collector):
    """Shows gauges to a registry."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        return whole(self._gauges.metrics())


class Operators:
    """A telemetry, and what operators see of it."""

    def __init__(self, label: TenantLabel = TenantLabel.ID) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - `close` closes it
        self.registry = CollectorRegistry()
        self.log = Log(lambda: 0.0, descriptor=self._file.fileno())
        self.telemetry = Telemetry(self.registry, self.log, label, "1.2.3")
        self.store = StoreTelemetry(self.registry, self.log)

    def show(self, snapshot: Snapshot) -> None:
        gauges = Gauges(
            lambda: seen(snapshot), self.telemetry.tenants, lambda: self.log.dropped, lambda: 0, 120.0
        )
        self.registry.register(Scraped(gauges))

    def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Sorted labels to value, of one series name without its prefix."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"xero_proxy_{name}"
        }

    def lines(self) -> list[dict[str, Any]]:
        assert self.log.close(10)
        self._file.seek(0)
        return [json.loads(line) for line in self._file]

    def close(self) -> None:
        self.log.close(10)
        self._file.close()


def record(**fields: Any) -> Record:
    made = Record(id="0123456789abcdef", arrived=0.0, method="GET")
    made.routed(ROUTE)
    made.concluded("ok", 200)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def use_everything(operators: Operators) -> None:
    telemetry = operators.telemetry
    telemetry.request(record(bytes_out=10), 0.2)
    telemetry.attempt("accounting", "ok", 0.1)
    telemetry.retry("connect_failed")
    telemetry.retry_suppressed("budget")
    telemetry.shed("deadline")
    telemetry.disconnect("queue")
    telemetry.foreign_calls("acme", 3)
    telemetry.token_answer("upstream")
    telemetry.hold_changed(HoldChange(HoldAction.BEGUN, TENANT_HOLD, "offline", 300.0), 300.0)
    telemetry.limit_changed(LimitChange("minute", "app", "acme", spent=True))
    use_store(operators.store)
    operators.show(
        Snapshot(
            tenants=(tenant_view(queued=1),),
            apps=(AppView("app", 10_000, 9_000),),
            holds=(HoldView(TENANT_HOLD, "offline", 300.0, probing=False),),
            connections=(ConnectionView("app", "acme", "unauthorised", 1.0),),
        )
    )


def use_store(telemetry: StoreTelemetry) -> None:
    telemetry.operation("acquire", "granted", 0.001)
    telemetry.failed("acquire")
    telemetry.error("timeout")
    telemetry.away("timeout")
    telemetry.fallback(1.0)
    telemetry.back(1.0, 4)
    telemetry.lease_lost()
