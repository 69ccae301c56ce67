"""Settlements on their way to the server: sent at once and awaited by nobody, or kept until it is back."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from proxy.clock import Clock
from proxy.core.limits.decision import Effects, Limits, Permit, Settlement
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores import Heard
from proxy.stores.link import Link, Trouble
from proxy.stores.script import Arguments, Script

LEARNED_MAX = 1000
"""So many responses to permits that the server never granted are kept for it. Of the others there are never
more than were under way when it went away.
"""
AT_ONCE = 50
"""So many of those that were kept are under way together."""


@dataclass(frozen=True, slots=True)
class Debt:
    """A settlement that the server is to hear of, or (None) a permit's release. `effects` are what it had on
    this replica's own account; `told` says whether anybody knows of them, `alone` that the server never
    granted the permit, `ended` whether the answer had when it was settled.
    """

    permit: Permit
    settlement: Settlement | None
    random: float
    effects: Effects
    alone: bool
    told: bool = False
    ended: bool = True


class Settlements:
    """Delivers each once where that can be known, and again where it cannot: the script takes no permit
    back twice.
    """

    def __init__(self, script: Script, limits: Limits, clock: Clock, telemetry: StoreTelemetry) -> None:
        self.heard: Heard | None = None
        self._script = script
        self._limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self._granted: deque[Debt] = deque()
        self._learned: deque[Debt] = deque(maxlen=LEARNED_MAX)

    def owe(self, link: Link | None, debt: Debt) -> None:
        """Deliver it, or keep it where there is no link."""
        if link is None:
            self.keep(debt)
        else:
            self.deliver(link, debt)

    def keep(self, debt: Debt) -> None:
        """Until the server is back."""
        (self._learned if debt.alone else self._granted).append(replace(debt, told=True))

    def numbers(self) -> set[int]:
        """Of the permits whose settlement is kept."""
        return {debt.permit.number for kept in (self._granted, self._learned) for debt in kept}

    def deliver_kept(self, link: Link) -> bool:
        """Begin with it, and whether there are any. A few are under way at a time: the others shall not
        delay what is asked now.
        """
        kept = bool(self._granted or self._learned)
        for _ in range(AT_ONCE):
            self._deliver_next(link)
        return kept

    def deliver(self, link: Link, debt: Debt) -> None:
        """Send it soon; what comes of it is told later."""
        reply = link.call(partial(self._arguments, debt), urgent=False)
        reply.add_done_callback(partial(self._delivered, link, debt, self._clock.now()))

    def _arguments(self, debt: Debt) -> Arguments:
        now, settlement = self._clock.now(), debt.settlement
        if settlement is None:
            return self._script.release(debt.permit)
        if debt.told:
            settlement = self._as_of(settlement, debt.permit, now)
        return self._script.settle(debt.permit, settlement, now, debt.random, ended=debt.ended)

    def _as_of(self, settlement: Settlement, permit: Permit, now: float) -> Settlement:
        """What is still true of a settlement that was kept: a hold lasts no longer than it did here, and one
        that has ended since does not begin anew.
        """
        rule = settlement.row.hold
        if rule is None:
            return settlement
        key = next((key for key in permit.keys if key.scope is rule.scope), None)
        hold = None if key is None else self._limits.holds.active.get(key)
        left = None if hold is None else replace(rule, seconds=max(0.0, hold.until - now))
        return replace(settlement, row=replace(settlement.row, hold=left))

    def _deliver_next(self, link: Link) -> None:
        if kept := self._granted or self._learned:
            self.deliver(link, kept.popleft())

    def _delivered(self, link: Link, debt: Debt, sent_at: float, answer: asyncio.Future[Any]) -> None:
        reply, now = answer.result(), self._clock.now()
        release = debt.settlement is None
        if isinstance(reply, Trouble):
            self._telemetry.failed("release" if release else "settle")
            self._tell(debt, debt.effects)
            self.keep(debt)
            return
        if release:
            self._telemetry.operation("release", reply.decode(), now - sent_at)
            if debt.told:
                self._deliver_next(link)
            return
        settled = self._script.settled(reply, debt.permit, now)
        self._telemetry.operation("settle", "lost" if settled.lost else "settled", now - sent_at)
        if settled.lost and not debt.alone and not debt.told:
            self._telemetry.lease_lost()
        for change in settled.effects.holds:
            self._limits.holds.follow(change, now)
        self._tell(debt, settled.effects)
        if debt.told:
            self._deliver_next(link)

    def _tell(self, debt: Debt, effects: Effects) -> None:
        if self.heard is None:
            return
        if not debt.told:
            self.heard.settled(debt.permit, effects)
        else:
            for change in effects.holds:
                self.heard.hold_changed(change)
