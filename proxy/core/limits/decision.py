"""The one decision: may this request be sent now?

Everything that can say no is asked together: the holds of the tenant, the app and the API, the tenant's
concurrency, minute and day, and the app's minute. All agree and all are charged, or nothing is.

Where Xero refused by a limit and said when it has room again, a hold stands for all that is believed of that
limit: its probe finds out, and of the minute our own calls alone count meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from proxy.core.limits.accounts import Account, Accounts, Caps, learn
from proxy.core.limits.holds import HoldAction, HoldChange, Holds, HoldTimes
from proxy.core.model import (
    AppView,
    HoldKey,
    Left,
    Limit,
    Remaining,
    ResponseClass,
    Scope,
    TenantView,
    keys_of,
)

GRACE_SECONDS = 0.05
"""For so long a place is kept for the replica whose turn it is."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Whose limits a request uses. `tenant` is None where only the app's count."""

    app: str
    tenant: str | None
    api: str

    @staticmethod
    @lru_cache(maxsize=32_768)
    def of(app: str, tenant: str | None, api: str) -> Ask:
        """The same one each time, where it is asked for often."""
        return Ask(app, tenant, api)


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
    """Leave to send one attempt. It must be settled exactly once, whatever becomes of the attempt, and
    released: its place among the concurrent ones is free when the answer's last byte has come.

    `following` is what another request of the same tenant would be told now, where that is known to be no.
    """

    number: int
    ask: Ask
    keys: tuple[HoldKey, ...]
    granted_at: float
    probes: tuple[HoldKey, ...] = ()
    following: Denial | None = None
    settled: bool = False
    released: bool = False


@dataclass(slots=True)
class Forecast:
    """The earliest possible time of a send; `limit` as in `Denial`, empty when nothing stops it. Where the
    time is not `known`, one request asks then.
    """

    limit: str
    at: float
    known: bool = True


@dataclass(slots=True)
class Settlement:
    """What became of an attempt. `head_at` is when its response head, or its failure, was read;
    `sent` is False where no byte of it left; `retry_after` is in seconds; `again` says that an earlier
    attempt of the same request failed too, so that the request counts as one failure.
    """

    row: ResponseClass
    sent: bool
    head_at: float
    remaining: Remaining = Remaining()
    retry_after: float | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Effects:
    """What a settlement changed for others."""

    holds: tuple[HoldChange, ...] = ()
    foreign: int = 0
    """Calls of others on this organisation's minute that the response revealed."""


NO_EFFECTS = Effects()


class Limits:
    """Every limit and hold of every app and organisation. Holds permits to account, knows no clock."""

    def __init__(self, caps: Caps, times: HoldTimes) -> None:
        self._caps = caps
        self.accounts = Accounts(caps)
        self.holds = Holds(times)
        self._permits = 0

    def number(self) -> int:
        """A permit's number, never used before."""
        self._permits += 1
        return self._permits

    def acquire(self, ask: Ask, now: float, ahead: Callable[[], int] | None = None) -> Permit | Denial:
        """Decide at the last moment before sending; a denial has cost nothing.

        `ahead` counts the others who go first where the organisation's places are few; they are to come
        within `GRACE_SECONDS`. It is asked only where nothing else says no.
        """
        keys = keys_of(ask.app, ask.tenant, ask.api)
        tenant = None if ask.tenant is None else self.accounts.tenant(ask.app, ask.tenant, now)
        if self.holds.active and (held := self.holds.blocking(keys, now)):
            key, hold = held
            return Denial(hold.reason, hold.stops_until(now), key)
        asked = self.holds.reasons(keys) if self.holds.active else set()
        free, others = 0, Limit.MINUTE not in asked
        if tenant is not None:
            if tenant.in_flight >= self._caps.concurrent:
                return CONCURRENT
            free = tenant.minute.left(now, others=others)
            if free <= 0:
                return Denial(Limit.MINUTE, tenant.minute.earliest(now, others=others))
            day = tenant.day
            if Limit.DAY not in asked and day.left(now) <= 0 and (at := day.earliest(now)) > now:
                return Denial(Limit.DAY, at)
        app = self.accounts.app(ask.app, now)
        of_app = Limit.APP_MINUTE not in asked
        if app.left(now, others=of_app) <= 0:
            return Denial(Limit.APP_MINUTE, app.earliest(now, others=of_app))
        if (
            ahead is not None
            and tenant is not None
            and (denial := self._others_first(tenant, free, ahead(), now))
        ):
            return denial
        app.dispatch(now)
        following = self._charge(tenant, free, now, others=others) if tenant is not None else None
        self._permits += 1
        probes = self.holds.probe(keys, self._permits, now) if self.holds.active else ()
        return Permit(self._permits, ask, keys, now, probes, following)

    def charge(self, permit: Permit) -> None:
        """Account for a permit with a number of ours that was granted elsewhere; to be settled here too."""
        ask, now = permit.ask, permit.granted_at
        self.accounts.app(ask.app, now).dispatch(now)
        if ask.tenant is not None:
            self._charge(self.accounts.tenant(ask.app, ask.tenant, now), 0, now)
        self.holds.probe(permit.probes, permit.number, now)

    def settle(
        self, permit: Permit, settlement: Settlement, now: float, random: float, *, ended: bool = True
    ) -> Effects:
        """Account for what an attempt's answer means, and learn from it; where it has not `ended` yet,
        `release` is to follow.

        `random` in [0, 1) jitters a backoff. Raises RuntimeError when the permit was settled before.
        """
        if permit.settled:
            msg = f"permit {permit.number} was settled twice"
            raise RuntimeError(msg)
        permit.settled = True
        ask, sent = permit.ask, settlement.sent
        app = self.accounts.apps[ask.app]
        tenant = None if ask.tenant is None else self.accounts.tenants[ask.app, ask.tenant]
        foreign = learn(app, tenant, permit.granted_at, settlement, now) if sent else 0
        if sent:
            app.settle(settlement.head_at)
        else:
            app.give_back(permit.granted_at)
        if tenant is not None and sent:
            tenant.minute.settle(settlement.head_at)
        elif tenant is not None:
            tenant.minute.give_back(permit.granted_at)
            tenant.day.give_back()
        if ended:
            self.release(permit)
        return self._held(permit, settlement, foreign, now, random)

    def release(self, permit: Permit) -> None:
        """The answer's last byte has come: free its place, once."""
        if not permit.released and permit.ask.tenant is not None:
            self.accounts.tenants[permit.ask.app, permit.ask.tenant].in_flight -= 1
        permit.released = True

    def hear(self, permit: Permit, settlement: Settlement, now: float, random: float) -> Effects:
        """Learn from the answer to a call whose permit is charged here no longer, or never was."""
        ask = permit.ask
        app = self.accounts.app(ask.app, now)
        tenant = None if ask.tenant is None else self.accounts.tenant(ask.app, ask.tenant, now)
        foreign = learn(app, tenant, permit.granted_at, settlement, now)
        return self._held(permit, settlement, foreign, now, random)

    def clear(self, key: HoldKey, now: float) -> HoldChange | None:
        """End a hold because an operator says so, and of an organisation also what is believed of its day, so
        that the next call asks. None where nothing stood in the way.
        """
        ended = self.holds.clear(key)
        account = self.accounts.tenants.get((key.app, key.tenant)) if key.scope is Scope.TENANT else None
        if account is None:
            return ended
        account.day.doubt()
        spent = account.day.left(now) <= 0
        believed = HoldChange(HoldAction.CLEARED, key, Limit.DAY, now, probe=False)
        return ended or (believed if spent else None)

    def forecast(self, ask: Ask, ahead: int, now: float) -> Forecast:
        """The earliest time at which the request behind `ahead` others of its organisation can be sent,
        and what it waits for. It may be too early, never too late.
        """
        limit, at, known, asked = "", now, True, set[str]()
        if self.holds.active:
            asked = self.holds.reasons(keys := keys_of(ask.app, ask.tenant, ask.api))
            if held := self.holds.blocking(keys, now):
                limit, at = held[1].reason, held[1].stops_until(now)
        if ask.tenant is not None and (tenant := self.accounts.tenants.get((ask.app, ask.tenant))):
            if Limit.DAY not in asked and (day := tenant.day.earliest(now, ahead)) > at:
                limit, at, known = Limit.DAY, day, False
            others = Limit.MINUTE not in asked
            if (minute := tenant.minute.earliest(now, ahead, others=others)) is not None and minute > at:
                limit, at, known = Limit.MINUTE, minute, True
        if (
            (app := self.accounts.apps.get(ask.app))
            and (minute := app.earliest(now, others=Limit.APP_MINUTE not in asked)) is not None
            and minute > at
        ):
            limit, at, known = Limit.APP_MINUTE, minute, True
        return Forecast(limit, at, known)

    def left(self, ask: Ask, now: float) -> Left:
        """What its limits leave to a request, as far as known."""
        return self.accounts.left(ask.app, ask.tenant, now)

    def view(self, now: float) -> tuple[list[TenantView], list[AppView]]:
        """Budgets for operators, all at once."""
        return list(self.accounts.views(now)), list(self.accounts.app_views(now))

    def _others_first(self, tenant: Account, free: int, ahead: int, now: float) -> Denial | None:
        places = self._caps.concurrent - tenant.in_flight
        if not ahead or ahead < min(free, places):
            return None
        return Denial(Limit.MINUTE if free <= places else Limit.CONCURRENT, now + GRACE_SECONDS)

    def _charge(self, tenant: Account, free: int, now: float, *, others: bool = True) -> Denial | None:
        """Charge a tenant that had `free` calls left in its minute; what the next one would be told."""
        tenant.minute.dispatch(now)
        tenant.day.dispatch(now)
        tenant.in_flight += 1
        if tenant.in_flight >= self._caps.concurrent:
            return CONCURRENT
        return Denial(Limit.MINUTE, tenant.minute.earliest(now, others=others)) if free == 1 else None

    def _held(
        self, permit: Permit, settlement: Settlement, foreign: int, now: float, random: float
    ) -> Effects:
        changes = self.holds.settle(
            permit.keys,
            permit.number,
            permit.granted_at,
            settlement.row,
            settlement.retry_after,
            now,
            random,
            again=settlement.again,
        )
        for change in changes:
            if change.action is HoldAction.ENDED:
                said, sent_at = settlement.remaining, permit.granted_at
                self.accounts.let_in(change.key, change.reason, said, sent_at, now)
        return Effects(tuple(changes), foreign) if changes or foreign else NO_EFFECTS
