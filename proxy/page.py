"""The page for people at `/`: what it is given to show, and the page itself.

The page is one file that never changes and asks nobody else for anything. Its script gets the values below
from `proxy.events` and puts names into text nodes alone; the Content-Security-Policy names the one script and
the one style by their hashes and forbids, in browsers that know Trusted Types, to make markup from text.

Whatever needs somebody's attention comes first, and what a reader would have to join is joined here: a row
has the organisation with its hold and its failures.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Any

from proxy.core.model import AppView, ConnectionView, HoldView, Scope, TenantView
from proxy.last_failures import FailureView
from proxy.status import Status, connection_json, failure_json, hold_json, iso

PAGE = Path(__file__).with_name("page.html").read_bytes()
ROWS_MAX = 500
"""Rows of each table; `/status` has them all."""
LOW_SHARE = 0.1
"""Of a day's budget: with less than this left, somebody should know."""
LONG_WAIT_SECONDS = 30.0
FAILING_SECONDS = 300.0
"""So long a failure is news."""


def _hash(tag: bytes) -> str:
    """The source expression for the one element of this name."""
    content = PAGE.split(b"<" + tag + b">")[1].split(b"</" + tag + b">")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_hash(b'script')}; style-src {_hash(b'style')}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class State(StrEnum):
    """How an organisation is, the worst first: the order of the rows."""

    UNAUTHORISED = "unauthorised"
    HELD = "held"
    DAY_SPENT = "day spent"
    DAY_LOW = "day low"
    WAITING_LONG = "waiting long"
    FAILING = "failing"
    WAITING = "waiting"
    CALM = "calm"


_RANKS = {state: rank for rank, state in enumerate(State)}
_Key = tuple[str, str]


def as_shown(status: Status) -> dict[str, Any]:
    """What the page shows; at most `ROWS_MAX` of each kind. Lost connections, holds and failures of
    organisations that have a row are in it, the others are on their own.
    """
    snapshot, wall = status.snapshot, status.wall
    holds = {_key(hold): hold for hold in snapshot.holds if hold.key.scope is Scope.TENANT}
    lost = {(each.app, each.tenant): each for each in snapshot.connections}
    failures = _by_organisation(status.failures)
    rows = sorted(
        (_RANKS[state := _state(view, lost, holds, failures)], view.tenant, view.app, state, view)
        for view in snapshot.tenants
    )[:ROWS_MAX]
    rowed = {(app, tenant) for _, tenant, app, _, _ in rows}
    wide = sorted(
        (hold for hold in snapshot.holds if hold.key.scope is not Scope.TENANT or _key(hold) not in rowed),
        key=lambda hold: (hold.key.scope is Scope.TENANT, -hold.seconds),
    )
    unconnected = [each for key, each in lost.items() if key not in rowed]
    others = [failure for failure in status.failures if (failure.app, failure.tenant) not in rowed]
    return {
        "time": iso(wall),
        "version": status.version,
        "uptime": round(status.uptime, 1),
        "state": _own_state(status),
        "totals": {
            "organisations": len(snapshot.tenants),
            "holds": len(snapshot.holds),
            "waiting": snapshot.waiting,
            "in_flight": sum(view.in_flight for view in snapshot.tenants),
        },
        "connections": [connection_json(each, wall) for each in unconnected[:ROWS_MAX]],
        "holds": [hold_json(hold, wall) for hold in wide[:ROWS_MAX]],
        "apps": sorted(snapshot.apps, key=_app_order)[:ROWS_MAX],
        "rows": [
            {
                "state": state,
                "view": view,
                "connection": connection_json(lost[app, tenant], wall) if (app, tenant) in lost else None,
                "hold": hold_json(holds[app, tenant], wall) if (app, tenant) in holds else None,
                "failures": [failure_json(each, wall) for each in failures.get((app, tenant), ())],
            }
            for _, tenant, app, state, view in rows
        ],
        "failures": [failure_json(each, wall) for each in others[:ROWS_MAX]],
    }


def _own_state(status: Status) -> str:
    if status.snapshot.draining:
        return "draining"
    if not status.ready:
        return "not ready"
    return "ready" if status.snapshot.store.up else "store away"


def _state(
    view: TenantView,
    lost: dict[_Key, ConnectionView],
    holds: dict[_Key, HoldView],
    failures: dict[_Key, list[FailureView]],
) -> State:
    key = (view.app, view.tenant)
    if key in lost:
        return State.UNAUTHORISED
    if key in holds:
        return State.HELD
    if view.day_remaining <= 0:
        return State.DAY_SPENT
    if view.day_remaining <= LOW_SHARE * view.day_limit:
        return State.DAY_LOW
    if view.queued and view.oldest_seconds >= LONG_WAIT_SECONDS:
        return State.WAITING_LONG
    if any(map(_alarming, failures.get(key, ()))):
        return State.FAILING
    return State.WAITING if view.queued else State.CALM


def _alarming(failure: FailureView) -> bool:
    """What a caller did wrong by itself, or its leaving, is for the caller to look at."""
    theirs = 400 <= failure.status < 500 and failure.status not in {401, 403, 429}
    return failure.seconds < FAILING_SECONDS and not theirs


def _key(hold: HoldView) -> _Key:
    return hold.key.app, hold.key.tenant


def _by_organisation(failures: tuple[FailureView, ...]) -> dict[_Key, list[FailureView]]:
    found: dict[_Key, list[FailureView]] = {}
    for failure in failures:
        found.setdefault((failure.app, failure.tenant), []).append(failure)
    return found


def _app_order(app: AppView) -> tuple[float, str]:
    return app.minute_remaining / max(1, app.minute_limit), app.app
