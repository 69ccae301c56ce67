"""What an operator is told about the proxy: one value, as JSON for machines and as a page for people.

Names of apps, organisations and APIs come from callers. The page gets them through `_row` and `_text` alone,
which escape everything; it has no script, and the Content-Security-Policy names its one style by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

from proxy.core.model import HoldView, Snapshot, TenantView

REFRESH_SECONDS = 5
ROWS_MAX = 200
"""Rows of the page's table of organisations; `/status` has them all."""

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem; }
caption { text-align: left; font-weight: 600; font-size: 1.2rem; padding: .5rem 0; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8888; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Status:
    """One moment. `wall` is seconds since 1970, `uptime` seconds since the start."""

    snapshot: Snapshot
    version: str
    ready: bool
    wall: float
    uptime: float


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
        "holds": [_hold(hold, status.wall) for hold in snapshot.holds],
        "apps": snapshot.apps,
        "tenants": snapshot.tenants,
    }


def _hold(hold: HoldView, wall: float) -> dict[str, Any]:
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


def as_page(status: Status, *, refresh: bool) -> str:
    """The page of `/`; with `refresh` the browser asks for it again every few seconds."""
    snapshot = status.snapshot
    state = "draining" if snapshot.draining else "ready" if status.ready else "not ready"
    again = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if refresh else ""
    link = '<a href="/?refresh=off">Stop updating</a>' if refresh else '<a href="/">Keep updating</a>'
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"{again}<title>xero-proxy: {state}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>xero-proxy: {state}</h1>",
            _text(
                f"{snapshot.waiting} waiting. Version {status.version}, up {_span(status.uptime)}, "
                f"{iso(status.wall)}."
            ),
            f'<p>{link} · <a href="/status">JSON</a> · <a href="/metrics">metrics</a></p>',
            _holds_table(snapshot.holds, status.wall),
            _tenants_table(snapshot.tenants),
            _table(
                "Apps",
                ("App", "Minute left"),
                (
                    (app.app or "default", f"{app.minute_remaining} of {app.minute_limit}")
                    for app in snapshot.apps
                ),
            ),
            "</main></body></html>\n",
        )
    )


def _holds_table(holds: tuple[HoldView, ...], wall: float) -> str:
    rows = (
        (
            hold.key.scope.value,
            hold.key.tenant or hold.key.app or hold.key.api or "default",
            hold.reason,
            "probe under way" if hold.probing else _span(hold.seconds),
            iso(wall + hold.seconds),
        )
        for hold in sorted(holds, key=lambda hold: -hold.seconds)[:ROWS_MAX]
    )
    return _table(_shown("Holds", len(holds)), ("Scope", "Who", "Reason", "Time left", "Ends"), rows)


def _tenants_table(tenants: tuple[TenantView, ...]) -> str:
    """The busiest organisations first."""
    busiest = sorted(tenants, key=lambda view: (-view.queued, -view.in_flight, view.tenant))[:ROWS_MAX]
    heads = (
        "App",
        "Organisation",
        "Waiting",
        "Oldest",
        "Waits for",
        "Next in",
        "At Xero",
        "Minute left",
        "Day left",
        "Others' calls",
    )
    rows = (
        (
            view.app or "default",
            view.tenant,
            view.queued,
            _span(view.oldest_seconds) if view.queued else "",
            view.blocked_by,
            "" if view.next_seconds is None else _span(view.next_seconds),
            view.in_flight,
            f"{view.minute_remaining} of {view.minute_limit}",
            f"{view.day_remaining} of {view.day_limit}",
            view.foreign_calls,
        )
        for view in busiest
    )
    return _table(_shown("Organisations", len(tenants)), heads, rows)


def _shown(name: str, count: int) -> str:
    return name if count <= ROWS_MAX else f"{name}: {ROWS_MAX} of {count}"


def _table(caption: str, heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    body = "".join(map(_row, rows))
    if not body:
        return f"<h2>{escape(caption)}</h2>{_text('None.')}"
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: tuple[object, ...]) -> str:
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


def _text(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _span(seconds: float) -> str:
    """A duration as people say it: `4.2 s`, `3 min 20 s`, `5 h 7 min`, `2 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
