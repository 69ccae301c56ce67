"""The page for people at `/`: what it is given to show, and the page itself.

The page is one file that never changes and asks nobody else for anything. Its script gets the values below
from `proxy.admin.events` and puts names into text nodes alone; the Content-Security-Policy names the one
script and the one style by their hashes and forbids, in browsers that know Trusted Types, to make markup
from text.

Whatever needs somebody's attention comes first, and what a reader would have to join is joined here: a row
has the organisation with everything that is the matter with it and its failures.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from proxy.core.model import AppView, HoldView, TenantView
from proxy.observe.states import RANKS, WIDE, known, states
from proxy.observe.status import Status, connection_json, failure_json, hold_json, iso, states_json
from proxy.observe.steps import Steps, first, total

PAGE = Path(__file__).with_name("page.html").read_bytes()
ROWS_MAX = 500
"""Rows of each table; `/status` has them all."""


def _hash(tag: bytes) -> str:
    """The source expression for the one element of this name."""
    content = PAGE.split(b"<" + tag + b">")[1].split(b"</" + tag + b">")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_hash(b'script')}; style-src {_hash(b'style')}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def as_shown(status: Status) -> Steps[dict[str, Any]]:
    """What the page shows; at most `ROWS_MAX` of each kind. Lost connections, holds and failures of
    organisations that have a row are in it, the others are on their own.
    """
    snapshot, wall = status.snapshot, status.wall
    of_all = yield from known(snapshot, status.failures)

    def order(view: TenantView) -> tuple[int, str, str]:
        return RANKS[states(view, of_all)[0]], view.tenant, view.app

    rows = yield from first(snapshot.tenants, order, ROWS_MAX)
    rowed = {(view.app, view.tenant) for view in rows}
    in_flight = yield from total(view.in_flight for view in snapshot.tenants)
    others = (hold for hold in snapshot.holds if _wide(hold) or (hold.key.app, hold.key.tenant) not in rowed)
    holds = yield from first(others, lambda hold: (not _wide(hold), -hold.seconds), ROWS_MAX)
    apps = yield from first(snapshot.apps, _app_order, ROWS_MAX)
    unconnected = [each for name, each in of_all.lost.items() if name not in rowed]
    failures = [failure for failure in status.failures if (failure.app, failure.tenant) not in rowed]
    yield
    return {
        "time": iso(wall),
        "version": status.version,
        "uptime": round(status.uptime, 1),
        "state": _own_state(status),
        "totals": {
            "organisations": len(snapshot.tenants),
            "holds": len(snapshot.holds),
            "waiting": snapshot.waiting,
            "in_flight": in_flight,
        },
        "connections": [connection_json(each, wall) for each in unconnected[:ROWS_MAX]],
        "holds": [hold_json(hold, wall) for hold in holds],
        "apps": apps,
        "rows": [
            {
                "states": states_json(view, of_all, wall),
                "view": view,
                "failures": [
                    failure_json(each, wall) for each in of_all.failures.get((view.app, view.tenant), ())
                ],
            }
            for view in rows
        ],
        "failures": [failure_json(each, wall) for each in failures[:ROWS_MAX]],
    }


def _wide(hold: HoldView) -> bool:
    return hold.key.scope in WIDE


def _own_state(status: Status) -> str:
    if status.snapshot.draining:
        return "draining"
    if not status.ready:
        return "not ready"
    return "ready" if status.snapshot.store.up else "store away"


def _app_order(app: AppView) -> tuple[float, str]:
    return app.minute_remaining / max(1, app.minute_limit), app.app
