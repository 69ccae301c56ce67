"""What an operator is told about the proxy: JSON for machines; `proxy.admin.page` is for people."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from proxy.core.model import ConnectionView, HoldView, Snapshot, TenantView, UpstreamView
from proxy.observe.last_failures import FailureView
from proxy.observe.log import lenient_json
from proxy.observe.states import Known, State, known, states
from proxy.observe.steps import Steps, parts

_BUDGETS = tuple(each.name for each in fields(TenantView))


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


def as_json(status: Status) -> Steps[bytes]:
    """The text of `/status`. What identifies a hold is what `POST /holds/clear` takes."""
    snapshot, wall = status.snapshot, status.wall
    of_all = yield from known(snapshot, status.failures)
    head = {
        "time": iso(status.wall),
        "version": status.version,
        "python": platform.python_version(),
        "uptime_seconds": round(status.uptime, 3),
        "ready": status.ready,
        "draining": snapshot.draining,
        "waiting": snapshot.waiting,
        "store": snapshot.store,
        "upstreams": [upstream_json(upstream) for upstream in snapshot.upstreams],
    }
    lists: dict[str, Iterable[object]] = {
        "connections_lost": (connection_json(lost, wall) for lost in snapshot.connections),
        "holds": (hold_json(hold, wall) for hold in snapshot.holds),
        "apps": snapshot.apps,
        "tenants": (tenant_json(tenant, of_all, wall) for tenant in snapshot.tenants),
        "failures": (failure_json(failure, wall) for failure in status.failures),
    }
    text = [encoded(head)[:-1]]
    for name, values in lists.items():
        text.append(b',"%b":[' % name.encode())
        for number, part in enumerate(parts(values)):
            text.append((b"," if number else b"") + encoded(part)[1:-1])
            yield
        text.append(b"]")
    text.append(b"}")
    return b"".join(text)


def upstream_json(upstream: UpstreamView) -> dict[str, Any]:
    """One of Xero's hosts; times are to the millisecond."""
    shown = asdict(upstream)
    for name in ("connected_seconds", "error_seconds"):
        shown[name] = None if shown[name] is None else round(shown[name], 3)
    return shown


def tenant_json(tenant: TenantView, of_all: Known, wall: float) -> dict[str, Any]:
    """One organisation: budgets, line, and how it is; times are to the millisecond, as all the others."""
    shown = {name: getattr(tenant, name) for name in _BUDGETS}
    shown["oldest_seconds"] = round(tenant.oldest_seconds, 3)
    shown["next_seconds"] = None if tenant.next_seconds is None else round(tenant.next_seconds, 3)
    shown["states"] = states_json(tenant, of_all, wall)
    return shown


def states_json(tenant: TenantView, of_all: Known, wall: float) -> list[dict[str, Any]]:
    """Everything that is the matter with one organisation, the worst first, with why and until when; each
    hold is one of them.
    """
    name, shown = (tenant.app, tenant.tenant), list[dict[str, Any]]()
    for state in states(tenant, of_all):
        if state is State.UNAUTHORISED:
            shown.append(connection_json(of_all.lost[name], wall))
        elif state is State.HELD:
            shown += ({"state": state, **hold_json(hold, wall)} for hold in of_all.holds[name])
        else:
            shown.append({"state": state})
    return shown


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
