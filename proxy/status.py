"""What an operator is told about the proxy: one value, as JSON for machines; `proxy.page` is for people."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from proxy.core.model import ConnectionView, HoldView, Snapshot, TenantView
from proxy.last_failures import FailureView
from proxy.log import lenient_json


@dataclass(frozen=True, slots=True)
class Status:
    """One moment. `wall` is seconds since 1970, `uptime` seconds since the start."""

    snapshot: Snapshot
    version: str
    ready: bool
    wall: float
    uptime: float
    failures: tuple[FailureView, ...] = ()


def iso(wall: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=wall)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(status: Status) -> dict[str, Any]:
    """The value of `/status`. What identifies a hold is what `POST /holds/clear` takes."""
    snapshot = status.snapshot
    return {
        "time": iso(status.wall),
        "version": status.version,
        "python": platform.python_version(),
        "uptime_seconds": round(status.uptime, 3),
        "ready": status.ready,
        "draining": snapshot.draining,
        "waiting": snapshot.waiting,
        "store": snapshot.store,
        "connections_lost": [connection_json(lost, status.wall) for lost in snapshot.connections],
        "holds": [hold_json(hold, status.wall) for hold in snapshot.holds],
        "apps": snapshot.apps,
        "tenants": [_rounded(tenant) for tenant in snapshot.tenants],
        "failures": [failure_json(failure, status.wall) for failure in status.failures],
    }


def _rounded(tenant: TenantView) -> TenantView:
    """With times to the millisecond, as all the others."""
    next_seconds = None if tenant.next_seconds is None else round(tenant.next_seconds, 3)
    return replace(tenant, oldest_seconds=round(tenant.oldest_seconds, 3), next_seconds=next_seconds)


def hold_json(hold: HoldView, wall: float) -> dict[str, Any]:
    """One hold; `seconds` is the time left."""
    key = hold.key
    return {
        "scope": key.scope.value,
        "app": key.app,
        "tenant": key.tenant,
        "api": key.api,
        "reason": hold.reason,
        "until": iso(wall + hold.seconds),
        "seconds": round(hold.seconds, 3),
        "probing": hold.probing,
    }


def connection_json(lost: ConnectionView, wall: float) -> dict[str, Any]:
    """One connection that Xero refuses, an organisation's or an app's; `seconds` is the time since."""
    return {
        "app": lost.app,
        "tenant": lost.tenant,
        "state": "unauthorised" if lost.tenant else "connection lost",
        "reason": lost.reason,
        "since": iso(wall - lost.seconds),
        "seconds": round(lost.seconds, 3),
    }


def failure_json(failure: FailureView, wall: float) -> dict[str, Any]:
    """The failures of one class of one organisation; `seconds` is the time since the last."""
    return {
        "app": failure.app,
        "tenant": failure.tenant,
        "class": failure.class_,
        "status": failure.status,
        "count": failure.count,
        "last": iso(wall - failure.seconds),
        "seconds": round(failure.seconds, 3),
    }


def encoded(value: object) -> bytes:
    """JSON on one line; a name that is no Unicode gets `?` for what is none."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return lenient_json(value, default=asdict)
