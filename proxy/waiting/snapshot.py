"""All that operators may see of limits, holds and lines at one moment, looked at in steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from proxy.core.limits.decision import Ask
from proxy.core.line.turns import Turns
from proxy.core.model import Snapshot, TenantView
from proxy.observe.steps import Steps, parts
from proxy.stores import Store

T = TypeVar("T")


def look(store: Store, turns: Turns, now: float) -> Steps[Snapshot]:
    """A snapshot as of `now`, without what the scheduler alone knows."""
    tenants, apps, holds = store.view()
    return Snapshot(
        store=store.health(),
        tenants=(yield from _all(_shown(view, turns, now) for view in tenants)),
        apps=(yield from _all(apps)),
        holds=(yield from _all(holds)),
    )


def has_room(store: Store, turns: Turns, ask: Ask, limit: str) -> bool:
    """Whether a limit has room for such a request, and nobody waits for it."""
    place = turns.find(ask)
    waited_for = place is not None and len(place.line) > 0 and place.blocked_by == limit
    return not waited_for and store.left(ask).of(limit) != 0


def _all(values: Iterable[T]) -> Steps[tuple[T, ...]]:
    found: list[T] = []
    for part in parts(values):
        found += part
        yield
    return tuple(found)


def _shown(view: TenantView, turns: Turns, now: float) -> TenantView:
    place = turns.find(Ask(view.app, view.tenant, ""))
    return view if place is None else place.shown(view, now)
