"""The one decision: may this request be sent now?

Everything that can say no is asked together: the holds of the tenant, the app and the API, the tenant's
concurrency, minute and day, and the app's minute. All agree and all are charged, or nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from proxy.core.day import Day
from proxy.core.holds import HoldChange, Holds, HoldTimes, keys_of
from proxy.core.model import (
    AppView,
    HoldKey,
    Limit,
    Remaining,
    ResponseClass,
    TenantView,
)
from proxy.core.window import Window

TENANTS_KEPT = 20_000
"""Beyond so many organisations the ones with nothing in their windows are forgotten, oldest first."""

APP_LEARNING_SHARE = 0.5
"""An app's minute is learned from responses only where less than this share of it is left: one response
is enough to catch up, and so large a limit is far away most of the time.
"""


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits of the settings; `minute_seconds` is the length of both minute windows."""

    minute: int = 60
    minute_seconds: float = 60.0
    day: int = 5000
    concurrent: int = 5
    app_minute: int = 10_000


@dataclass(frozen=True, slots=True)
class Ask:
    """Whose limits a request uses. `tenant` is None where only the app's count."""

    app: str
    tenant: str | None
    api: str


@dataclass(frozen=True, slots=True)
class Denial:
    """Not now. `until` is the earliest time at which that can change, or None when only another
    attempt's end can change it; `limit` is a `Limit` or a hold's reason, `hold` the hold if it was one.
    """

    limit: str
    until: float | None
    hold: HoldKey | None = None


CONCURRENT = Denial(Limit.CONCURRENT, None)


@dataclass(slots=True)
class Permit:
    """Leave to send one attempt. It must be settled exactly once, whatever becomes of the attempt.

    `following` is what another request of the same tenant would be told now, where that is known to be no.
    """

    number: int
    ask: Ask
    keys: tuple[HoldKey, ...]
    granted_at: float
    probes: tuple[HoldKey, ...] = ()
    following: Denial | None = None
    settled: bool = False


@dataclass(slots=True)
class Forecast:
    """The earliest possible time of a send; `limit` as in `Denial`, empty when nothing stops it."""

    limit: str
    at: float


@dataclass(slots=True)
class Settlement:
    """What became of an attempt. `head_at` is when its response head, or its failure, was read;
    `sent` is False where no byte of it left; `retry_after` is in seconds.
    """

    row: ResponseClass
    sent: bool
    head_at: float
    remaining: Remaining = Remaining()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """What a settlement changed for others."""

    holds: tuple[HoldChange, ...] = ()
    foreign: int = 0
    """Calls of others on this organisation's minute that the response revealed."""


NO_EFFECTS = Effects()


@dataclass(slots=True)
class _Tenant:
    minute: Window
    day: Day
    in_flight: int = 0


class Limits:
    """Every limit and hold of every app and organisation. Holds permits to account, knows no clock."""

    def __init__(self, caps: Caps, times: HoldTimes) -> None:
        self._caps = caps
        self._tenants: dict[tuple[str, str], _Tenant] = {}
        self._apps: dict[str, Window] = {}
        self.holds = Holds(times)
        self._permits = 0

    def acquire(self, ask: Ask, now: float) -> Permit | Denial:
        """Decide at the last moment before sending; a denial has cost nothing."""
        keys = keys_of(ask.app, ask.tenant, ask.api)
        tenant = self._tenant(ask, now)
        if self.holds.active and (held := self.holds.blocking(keys, now)):
            key, hold = held
            return Denial(hold.reason, hold.until if hold.until > now else None, key)
        free = 0
        if tenant is not None:
            if tenant.in_flight >= self._caps.concurrent:
                return CONCURRENT
            free = tenant.minute.free(now)
            if free <= 0:
                return Denial(Limit.MINUTE, tenant.minute.earliest(now))
            if tenant.day.left(now) <= 0 and (at := tenant.day.earliest(now)) > now:
                return Denial(Limit.DAY, at)
        app = self._app(ask.app, now)
        if app.free(now) <= 0:
            return Denial(Limit.APP_MINUTE, app.earliest(now))
        app.dispatch(now)
        following = self._charge(tenant, free, now) if tenant is not None else None
        self._permits += 1
        probes = self.holds.probe(keys, self._permits) if self.holds.active else ()
        return Permit(self._permits, ask, keys, now, probes, following)

    def settle(self, permit: Permit, settlement: Settlement, now: float, random: float) -> Effects:
        """Account for a permit whose attempt has ended, and learn from the response.

        `random` in [0, 1) jitters a backoff. Raises RuntimeError when the permit was settled before.
        """
        if permit.settled:
            msg = f"permit {permit.number} was settled twice"
            raise RuntimeError(msg)
        permit.settled = True
        app = self._apps[permit.ask.app]
        foreign = 0
        if settlement.sent:
            app.settle(settlement.head_at)
            left = settlement.remaining.app_minute
            if left is not None and left < APP_LEARNING_SHARE * app.limit:
                app.learn(permit.granted_at, settlement.head_at, left, now)
        else:
            app.give_back(permit.granted_at)
        if permit.ask.tenant is not None:
            tenant = self._tenants[permit.ask.app, permit.ask.tenant]
            foreign = self._settle_tenant(tenant, permit, settlement, now)
        changes = self.holds.settle(
            permit.keys,
            permit.number,
            permit.granted_at,
            settlement.row,
            settlement.retry_after,
            now,
            random,
        )
        return Effects(tuple(changes), foreign) if changes or foreign else NO_EFFECTS

    def forecast(self, ask: Ask, ahead: int, now: float) -> Forecast:
        """The earliest time at which the request behind `ahead` others of its organisation can be sent,
        and what it waits for. It may be too early, never too late.
        """
        limit, at = "", now
        if self.holds.active and (held := self.holds.blocking(keys_of(ask.app, ask.tenant, ask.api), now)):
            limit, at = held[1].reason, max(now, held[1].until)
        if ask.tenant is not None and (tenant := self._tenants.get((ask.app, ask.tenant))):
            if (day := tenant.day.earliest(now, ahead)) > at:
                limit, at = Limit.DAY, day
            if (minute := tenant.minute.earliest(now, ahead)) is not None and minute > at:
                limit, at = Limit.MINUTE, minute
        if (app := self._apps.get(ask.app)) and (minute := app.earliest(now)) is not None and minute > at:
            limit, at = Limit.APP_MINUTE, minute
        return Forecast(limit, at)

    def clear(self, key: HoldKey) -> HoldChange | None:
        """End a hold because an operator says so; None where there is none."""
        return self.holds.clear(key)

    def view(self, now: float) -> tuple[list[TenantView], list[AppView]]:
        """Budgets for operators; the waiting lines' share of the fields is left empty."""
        tenants = [
            TenantView(
                app=app,
                tenant=name,
                queued=0,
                oldest_seconds=0.0,
                blocked_by="",
                next_seconds=None,
                in_flight=tenant.in_flight,
                minute_limit=self._caps.minute,
                minute_remaining=tenant.minute.free(now),
                day_limit=self._caps.day,
                day_remaining=tenant.day.remaining(now),
                foreign_calls=tenant.minute.foreign(now),
            )
            for (app, name), tenant in self._tenants.items()
        ]
        apps = [AppView(app, window.limit, window.free(now)) for app, window in self._apps.items()]
        return tenants, apps

    def _charge(self, tenant: _Tenant, free: int, now: float) -> Denial | None:
        """Charge a tenant that had `free` calls left in its minute; what the next one would be told."""
        tenant.minute.dispatch(now)
        tenant.day.dispatch(now)
        tenant.in_flight += 1
        if tenant.in_flight >= self._caps.concurrent:
            return CONCURRENT
        return Denial(Limit.MINUTE, tenant.minute.earliest(now)) if free == 1 else None

    def _settle_tenant(self, tenant: _Tenant, permit: Permit, settlement: Settlement, now: float) -> int:
        tenant.in_flight -= 1
        if not settlement.sent:
            tenant.minute.give_back(permit.granted_at)
            tenant.day.give_back()
            return 0
        if (left := settlement.remaining.day) is not None:
            tenant.day.learn(left, tenant.minute.unaccounted(permit.granted_at))
        foreign = 0
        if (left := settlement.remaining.minute) is not None:
            foreign = tenant.minute.learn(permit.granted_at, settlement.head_at, left, now)
        tenant.minute.settle(settlement.head_at)
        return foreign

    def _tenant(self, ask: Ask, now: float) -> _Tenant | None:
        if ask.tenant is None:
            return None
        key = (ask.app, ask.tenant)
        tenant = self._tenants.get(key)
        if tenant is None:
            if len(self._tenants) >= TENANTS_KEPT:
                self._forget_idle(now)
            tenant = _Tenant(Window(self._caps.minute, self._caps.minute_seconds), Day(self._caps.day))
            self._tenants[key] = tenant
        return tenant

    def _app(self, app: str, now: float) -> Window:
        window = self._apps.get(app)
        if window is None:
            if len(self._apps) >= TENANTS_KEPT:
                self._forget_idle_apps(now)
            window = self._apps[app] = Window(self._caps.app_minute, self._caps.minute_seconds)
        return window

    def _forget_idle(self, now: float) -> None:
        """Look at a few of the oldest, so that the cost stays constant; the busy ones become the newest."""
        for key in list(islice(self._tenants, 8)):
            tenant = self._tenants.pop(key)
            if tenant.in_flight or not tenant.minute.idle(now):
                self._tenants[key] = tenant

    def _forget_idle_apps(self, now: float) -> None:
        for name in list(islice(self._apps, 8)):
            window = self._apps.pop(name)
            if not window.idle(now):
                self._apps[name] = window
