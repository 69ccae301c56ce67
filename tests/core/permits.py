"""Limits with few words, and a copy of all that they have charged."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from proxy.core.limits.accounts import Caps
from proxy.core.limits.day import Day
from proxy.core.limits.decision import Ask, Denial, Effects, Limits, Permit, Settlement
from proxy.core.limits.holds import Hold, HoldTimes
from proxy.core.limits.moments import Moments, Others
from proxy.core.limits.window import CLOCK_DRIFT, Window
from proxy.core.model import (
    Execution,
    HoldKey,
    HoldRule,
    Remaining,
    ResponseClass,
    Scope,
)

CAPS = Caps(minute=3, minute_seconds=60.0, day=100, concurrent=2, app_minute=5)
SPAN = 60.0 * (1 + CLOCK_DRIFT)
T1 = Ask("app", "t1", "accounting")
T2 = Ask("app", "t2", "accounting")
NOBODY = Ask("app", None, "identity")
OTHER_APP = Ask("other", "t1", "accounting")

OK = ResponseClass("success", Execution.DONE, healthy=True)
OFFLINE = ResponseClass("offline", Execution.REJECTED, HoldRule(Scope.TENANT, "offline", "offline"))
MAINTENANCE = ResponseClass("maintenance", Execution.REJECTED, HoldRule(Scope.API, "maintenance", "backoff"))
NEVER_SENT = ResponseClass("connect_failed", Execution.NEVER_SENT)


def make(caps: Caps = CAPS) -> Limits:
    return Limits(caps, HoldTimes())


def granted(limits: Limits, ask: Ask, now: float) -> Permit:
    permit = limits.acquire(ask, now)
    assert isinstance(permit, Permit)
    return permit


def denied(limits: Limits, ask: Ask, now: float) -> Denial:
    before = state(limits)
    denial = limits.acquire(ask, now)
    assert isinstance(denial, Denial)
    assert state(limits) == before
    return denial


def answered(
    limits: Limits, permit: Permit, now: float, row: ResponseClass = OK, remaining: Remaining | None = None
) -> Effects:
    settlement = Settlement(row, sent=True, head_at=now, remaining=remaining or Remaining())
    return limits.settle(permit, settlement, now, 0.5)


def call(limits: Limits, ask: Ask, now: float, remaining: Remaining | None = None) -> Effects:
    return answered(limits, granted(limits, ask, now), now, remaining=remaining)


def about(seconds: float) -> Any:
    return pytest.approx(seconds)


Charged = dict[str, object]


def state(limits: Limits) -> Charged:
    """A deep copy of everything that a permit could have been charged to."""

    def slots(thing: Window | Day | Moments | Others) -> dict[str, object]:
        values = {name: getattr(thing, name) for name in type(thing).__slots__}
        return {
            name: slots(value) if isinstance(value, Moments | Others) else deepcopy(value)
            for name, value in values.items()
        }

    fresh = (slots(Window(limits._caps.minute, 60.0)), slots(Day(limits._caps.day)), 0)
    tenants = {
        key: (slots(tenant.minute), slots(tenant.day), tenant.in_flight)
        for key, tenant in limits.accounts.tenants.items()
    }
    apps = {app: slots(window) for app, window in limits.accounts.apps.items()}
    unused = slots(Window(limits._caps.app_minute, 60.0))
    holds: dict[HoldKey, Hold] = deepcopy(limits.holds.active)
    return {
        "tenants": {key: value for key, value in tenants.items() if value != fresh},
        "apps": {app: value for app, value in apps.items() if value != unused},
        "holds": holds,
        "permits": limits._permits,
    }
