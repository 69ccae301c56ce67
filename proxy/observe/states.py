"""How each organisation is: everything that is the matter with it at once, the worst first.

No state hides another: an organisation that Xero refuses can be held and have spent its day too, and whoever
mends the one must see the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from proxy.core.model import ConnectionView, HoldView, Scope, Snapshot, TenantView
from proxy.observe.last_failures import FailureView
from proxy.observe.steps import Steps, parts

LOW_SHARE = 0.1
"""Of a day's budget: with less than this left, somebody should know."""
LONG_WAIT_SECONDS = 30.0
FAILING_SECONDS = 300.0
"""So long a failure is news."""
WIDE = frozenset({Scope.APP, Scope.API, Scope.HOST})
"""Scopes of holds that stop more than one organisation."""

Name = tuple[str, str]
"""App and tenant."""


class State(StrEnum):
    """What can be the matter with an organisation, the worst first."""

    UNAUTHORISED = "unauthorised"
    HELD = "held"
    DAY_SPENT = "day spent"
    DAY_LOW = "day low"
    WAITING_LONG = "waiting long"
    FAILING = "failing"
    WAITING = "waiting"
    CALM = "calm"


RANKS = {state: rank for rank, state in enumerate(State)}


@dataclass(slots=True)
class Known:
    """What is known of organisations besides their budgets and lines, by their names."""

    lost: dict[Name, ConnectionView] = field(default_factory=dict)
    holds: dict[Name, list[HoldView]] = field(default_factory=dict)
    failures: dict[Name, list[FailureView]] = field(default_factory=dict)


def known(snapshot: Snapshot, failures: tuple[FailureView, ...]) -> Steps[Known]:
    """All of it; failures stay in their order."""
    found = Known({(each.app, each.tenant): each for each in snapshot.connections})
    for holds in parts(snapshot.holds):
        for hold in holds:
            if hold.key.scope not in WIDE:
                found.holds.setdefault((hold.key.app, hold.key.tenant), []).append(hold)
        yield
    for failed in parts(failures):
        for failure in failed:
            found.failures.setdefault((failure.app, failure.tenant), []).append(failure)
        yield
    return found


def states(view: TenantView, known: Known) -> list[State]:
    """Everything that is the matter with one organisation, or that it is calm."""
    name = (view.app, view.tenant)
    found = []
    if name in known.lost:
        found.append(State.UNAUTHORISED)
    if name in known.holds:
        found.append(State.HELD)
    if view.day_remaining <= 0:
        found.append(State.DAY_SPENT)
    elif view.day_remaining <= LOW_SHARE * view.day_limit:
        found.append(State.DAY_LOW)
    if long := view.queued > 0 and view.oldest_seconds >= LONG_WAIT_SECONDS:
        found.append(State.WAITING_LONG)
    if any(map(_alarming, known.failures.get(name, ()))):
        found.append(State.FAILING)
    if view.queued and not long:
        found.append(State.WAITING)
    return found or [State.CALM]


def _alarming(failure: FailureView) -> bool:
    """What a caller did wrong by itself, or its leaving, is for the caller to look at."""
    theirs = 400 <= failure.status < 500 and failure.status not in {401, 403, 429}
    return failure.seconds < FAILING_SECONDS and not theirs
