"""Limits as several replicas share them: the rules that the script on the server repeats.

`SharedLimits` is what the server does for all replicas: the one decision of `Limits`, turns where more
than one replica waits, and leases, so that a replica which died holds nothing. `LocalShare` is what a
replica does alone when it cannot reach the server.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from math import floor, inf

from proxy.core.limits.accounts import Caps
from proxy.core.limits.day import ASK_AGAIN_SECONDS, Day
from proxy.core.limits.decision import (
    CONCURRENT,
    GRACE_SECONDS,
    NO_EFFECTS,
    Ask,
    Denial,
    Effects,
    Limits,
    Permit,
    Settlement,
)
from proxy.core.limits.holds import HoldChange, HoldTimes
from proxy.core.limits.window import Window
from proxy.core.model import Execution, Limit, ResponseClass

LEASE_SECONDS = 6.0
"""A replica that has not been heard of for so long is dead, and its permits are settled for it."""
POLL_SECONDS = 1.0
"""Whoever was told no time to come back asks again after so long, whatever it hears."""
REAPED_AT_ONCE = 500
"""So many permits of dead replicas are settled in one call, so that nobody waits long for it."""

LOST = ResponseClass("lost", Execution.UNKNOWN)
"""What became of an attempt whose replica died."""


@dataclass(slots=True)
class Contenders:
    """The replicas that wait for places of one organisation, and how many each has had.

    Of those who wait, whoever has had the fewest places since the window of the clock began goes first.
    `due` says for each when it asked and when it will come back; `freed_at` is when room last came about
    that nobody could foresee: whoever asked before comes back then.
    """

    seconds: float
    window: int | None = None
    had: dict[str, int] = field(default_factory=dict)
    due: dict[str, tuple[float, float]] = field(default_factory=dict)
    freed_at: float = -inf

    def ahead(self, replica: str, now: float) -> int:
        """How many go before `replica`. Who did not come when it was expected has lost its turn."""
        self._turn_over(now)
        self.due = {name: due for name, due in self.due.items() if now <= self._expected(*due)}
        mine = self.had.get(replica, 0)
        return sum(self.had.get(name, 0) < mine for name in self.due if name != replica)

    def denied(self, replica: str, now: float, until: float | None) -> None:
        """`replica` waits; None is until it hears of something, or polls."""
        self.due[replica] = now, now + POLL_SECONDS if until is None else until

    def granted(self, replica: str, now: float, back_at: float | None) -> None:
        """`replica` had a place, and asks for the next at `back_at`, or (None) needs no more."""
        self._turn_over(now)
        self.had[replica] = self.had.get(replica, 0) + 1
        if back_at is None:
            self.due.pop(replica, None)
        else:
            self.due[replica] = now, back_at

    def freed(self, now: float) -> None:
        """Room came about."""
        self.freed_at = now

    def _turn_over(self, now: float) -> None:
        if (window := floor(now / self.seconds)) != self.window:
            self.window = window
            self.had.clear()

    def _expected(self, asked_at: float, until: float) -> float:
        return (min(until, self.freed_at) if self.freed_at > asked_at else until) + GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a replica learns when it says that it lives: how many do, whether its own lease had ended (or
    never begun), how many permits of dead replicas were settled just now and whether there are more.
    """

    replicas: int
    lapsed: bool
    reaped: int
    more: bool


class SharedLimits:
    """`Limits` for several replicas. A permit is known by its replica and the number that it chose."""

    def __init__(self, caps: Caps, times: HoldTimes) -> None:
        self.limits = Limits(caps, times)
        self._caps = caps
        self._contenders: dict[tuple[str, str], Contenders] = {}
        self._leases: dict[str, float] = {}
        self._open: dict[str, dict[int, Permit]] = {}

    def acquire(self, replica: str, number: int, ask: Ask, now: float, *, more: bool) -> Permit | Denial:
        """As `Limits.acquire`; `more` says that others wait behind this request at this replica."""
        self._leases[replica] = now + LEASE_SECONDS
        if ask.tenant is None:
            decision = self.limits.acquire(ask, now)
        else:
            decision = self._in_turn(self._of(ask.app, ask.tenant), replica, ask, now, more=more)
        if isinstance(decision, Permit):
            self._open.setdefault(replica, {})[number] = decision
        return decision

    def settle(
        self,
        replica: str,
        number: int,
        claim: Permit,
        settlement: Settlement,
        now: float,
        random: float,
        *,
        ended: bool = True,
    ) -> tuple[Effects, bool]:
        """As `Limits.settle`, and whether the permit was lost: reaped, or never granted here. Then what
        `claim` says of it is believed, for its response may teach something all the same.
        """
        self._leases[replica] = now + LEASE_SECONDS
        permits = self._open.get(replica, {})
        permit = permits.get(number)
        if permit is None or permit.settled:
            effects = self.limits.hear(claim, settlement, now, random) if settlement.sent else NO_EFFECTS
            return effects, True
        if ended:
            del permits[number]
        return self._settle(permit, settlement, now, random, ended=ended), False

    def release(self, replica: str, number: int, now: float) -> bool:
        """As `Limits.release`, and whether the permit was lost."""
        self._leases[replica] = now + LEASE_SECONDS
        permit = self._open.get(replica, {}).pop(number, None)
        if permit is not None:
            self._end(permit, now)
        return permit is None

    def let_go(self, replica: str, number: int) -> list[HoldChange]:
        """As `Holds.let_go`."""
        permit = self._open.get(replica, {}).get(number)
        return [] if permit is None else self.limits.holds.let_go(permit.probes, permit.number)

    def beat(
        self, replica: str, now: float, lease: float = LEASE_SECONDS, held: AbstractSet[int] | None = None
    ) -> Pulse:
        """Keep a replica's permits for so long, of them (where that is given) only those that it still holds,
        settle what the dead have left, and forget the holds that are long over.
        """
        lapsed = self._leases.get(replica, -inf) <= now
        self._leases[replica] = now + lease
        own = self._open.get(replica, {})
        for number in own.keys() - (own.keys() if held is None else held):
            self._end(own.pop(number), now)
        dead = sorted((ends, name) for name, ends in self._leases.items() if ends <= now)
        reaped = 0
        for _, name in dead:
            permits = self._open.get(name, {})
            for number in sorted(permits)[: REAPED_AT_ONCE - reaped]:
                self._end(permits.pop(number), now)
                reaped += 1
            if not permits:
                del self._leases[name]
        self.limits.holds.forget(now)
        alive = sum(ends > now for ends in self._leases.values())
        return Pulse(alive, lapsed, reaped, more=len(self._leases) > alive)

    def _in_turn(
        self, contenders: Contenders, replica: str, ask: Ask, now: float, *, more: bool
    ) -> Permit | Denial:
        decision = self.limits.acquire(ask, now, partial(contenders.ahead, replica, now))
        if isinstance(decision, Permit):
            contenders.granted(replica, now, self._back_at(decision, now) if more else None)
        elif decision.hold is None and decision.limit in {Limit.MINUTE, Limit.CONCURRENT}:
            contenders.denied(replica, now, decision.until)
        return decision

    @staticmethod
    def _back_at(permit: Permit, now: float) -> float:
        if permit.following is None:
            return now
        return now + POLL_SECONDS if permit.following.until is None else permit.following.until

    def _settle(
        self, permit: Permit, settlement: Settlement, now: float, random: float, *, ended: bool = True
    ) -> Effects:
        ask = permit.ask
        if ask.tenant is None:
            return self.limits.settle(permit, settlement, now, random, ended=ended)
        account = self.limits.accounts.tenant(ask.app, ask.tenant, now)
        full, spent = account.in_flight >= self._caps.concurrent, account.minute.free(now) <= 0
        effects = self.limits.settle(permit, settlement, now, random, ended=ended)
        if (full and ended) or (spent and account.minute.free(now) > 0):
            self._of(ask.app, ask.tenant).freed(now)
        return effects

    def _end(self, permit: Permit, now: float) -> None:
        """Nobody will say more of a permit: what its answer meant stays unknown where nobody said it."""
        ask = permit.ask
        if not permit.settled:
            self._settle(permit, Settlement(LOST, sent=True, head_at=now), now, 0.0)
        elif ask.tenant is not None:
            full = self.limits.accounts.tenant(ask.app, ask.tenant, now).in_flight >= self._caps.concurrent
            self.limits.release(permit)
            if full:
                self._of(ask.app, ask.tenant).freed(now)

    def _of(self, app: str, tenant: str) -> Contenders:
        key = (app, tenant)
        if key not in self._contenders:
            self._contenders[key] = Contenders(self._caps.minute_seconds)
        return self._contenders[key]


class LocalShare:
    """What one of `replicas` that cannot reach each other may take of `limits`: its part, and at least one
    of each. Replicas that keep to it stay within every limit that is no less than their number.

    A day's part is of what is left now, and is measured out anew every `ASK_AGAIN_SECONDS`: what the others
    used has been learned from responses by then.
    """

    def __init__(self, limits: Limits, caps: Caps, replicas: int) -> None:
        self._limits = limits
        self._concurrent = max(1, caps.concurrent // replicas)
        self._minute = max(1, caps.minute // replicas)
        self._app_minute = max(1, caps.app_minute // replicas)
        self._replicas = replicas
        self._days: dict[tuple[str, str], tuple[int, float]] = {}

    def acquire(self, ask: Ask, now: float) -> Permit | Denial:
        """As `Limits.acquire`, and to be settled there."""
        app = self._limits.accounts.app(ask.app, now)
        if ask.tenant is None:
            denial = self._of_minute(app, self._app_minute, Limit.APP_MINUTE, now)
            return denial or self._limits.acquire(ask, now)
        key = ask.app, ask.tenant
        account = self._limits.accounts.tenant(*key, now)
        day, ends = self._day(key, account.day, now)
        if account.in_flight >= self._concurrent:
            return CONCURRENT
        if denial := self._of_minute(account.minute, self._minute, Limit.MINUTE, now):
            return denial
        if day <= 0:
            return Denial(Limit.DAY, ends)
        if denial := self._of_minute(app, self._app_minute, Limit.APP_MINUTE, now):
            return denial
        decision = self._limits.acquire(ask, now)
        if isinstance(decision, Permit):
            self._days[key] = day - 1, ends
        return decision

    @staticmethod
    def _of_minute(window: Window, share: int, limit: Limit, now: float) -> Denial | None:
        return Denial(limit, window.earliest_own(now, share)) if window.own(now) >= share else None

    def _day(self, key: tuple[str, str], day: Day, now: float) -> tuple[int, float]:
        """What is left of the part of a day, and when the next part is measured out."""
        part = self._days.get(key)
        if part is None or part[1] <= now or day.doubted:
            part = self._days[key] = max(1, day.remaining(now) // self._replicas), now + ASK_AGAIN_SECONDS
        return part
