"""The admin port on a real socket, before a proxy that is made of values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric

from proxy.admin.routes import Admin, AdminPort
from proxy.clock import Clock
from proxy.core.model import HoldKey, HoldView, Scope, Snapshot
from proxy.observe.last_failures import FailureView
from proxy.observe.steps import Steps
from tests.operators import seen, tenant_view

TOKEN = "canary-admin-token"
HELD = HoldKey(Scope.TENANT, app="app", tenant="acme")


class FixedWall(Clock):
    def wall(self) -> float:
        return 1_795_262_405.75


@dataclass
class Proxy:
    """What the admin port is given, and a client of it."""

    admin: Admin
    client: aiohttp.ClientSession
    state: Snapshot
    ready: bool = True
    cleared: list[HoldKey] = field(default_factory=list)

    async def clear(self, key: HoldKey) -> bool:
        self.cleared.append(key)
        return key == HELD

    async def post(
        self, value: Any, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        async with self.client.post("/holds/clear", data=body, headers=headers) as response:
            return response.status, orjson.loads(await response.read()), response


def nothing() -> Steps[list[Metric]]:
    yield
    return []


async def serve(token: str) -> AsyncIterator[Proxy]:
    """One proxy; at the end its port is closed."""
    registry = CollectorRegistry()
    Counter("xero_proxy_things", "Things.", ["tenant"], registry=registry).labels("acme").inc()
    proxy: Proxy
    crashes: list[str] = []

    async def clear(key: HoldKey) -> bool:
        return await proxy.clear(key)

    clock = FixedWall()
    admin = Admin(
        registry=registry,
        gauges=nothing,
        snapshot=lambda: seen(proxy.state),
        failures=lambda _now: (FailureView("app", "acme", "refused_offline", 503, 3, 60.0),),
        clear_hold=clear,
        ready=lambda: proxy.ready,
        clock=clock,
        started=clock.now(),
        version="1.2.3",
        token=token,
    )
    port = AdminPort(admin, crashes.append)
    url = f"http://127.0.0.1:{await port.start('127.0.0.1', 0)}"
    async with aiohttp.ClientSession(url) as client:
        hold = HoldView(HELD, "offline", 90.0, probing=False)
        proxy = Proxy(admin, client, Snapshot(tenants=(tenant_view(),), holds=(hold,)))
        yield proxy
    await port.close()
    assert crashes == []
