"""Limits and holds that all replicas share, on a Redis or Valkey server.

Every decision is one call of the script (`proxy.stores.script`), and so is every settlement, which nobody
waits for: calls reach the server in the order in which they were made, so whoever asks next finds what was
settled before. What a replica may do by itself is `standby`'s to say; it does so as soon as a call is not
answered in time, and `proxy.stores.session` looks for the server meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Any

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import NO_EFFECTS, Ask, Denial, Effects, Forecast, Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldChange, HoldTimes
from proxy.core.limits.standby import Standby
from proxy.core.model import (
    AppView,
    Execution,
    HoldKey,
    HoldView,
    Left,
    ResponseClass,
    StoreView,
    TenantView,
    keys_of,
)
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores import Heard
from proxy.stores.link import Link, Trouble
from proxy.stores.polls import Polls
from proxy.stores.script import Beat, Held, Room, Script, Void, VoidReason, event
from proxy.stores.session import Server, Session
from proxy.stores.settlements import Debt, Settlements

NOT_USED = Settlement(ResponseClass("not_used", Execution.NEVER_SENT), sent=False, head_at=0.0)
SLACK_SECONDS = 0.1
"""Two readings of one hold's end differ by the time that they travelled."""
CLOSE_SECONDS = 1.0
"""Longest wait for the last settlements."""
_OUTCOMES = {Permit: "granted", Denial: "denied", Void: "void"}


class RedisStore:
    """`proxy.stores.Store` over a server, `prefix` and `app_id` name what is shared."""

    def __init__(
        self,
        server: Server,
        caps: Caps,
        times: HoldTimes,
        clock: Clock,
        random: Random,
        telemetry: StoreTelemetry,
        *,
        prefix: str,
        app_id: str,
    ) -> None:
        self._timeout = server.timeout
        self._clock = clock
        self._random = random
        self._telemetry = telemetry
        self._replica = f"{random.getrandbits(64):016x}"
        self._script = Script(prefix, app_id, self._replica, caps, times)
        self._standby = Standby(caps, times)
        self._limits = self._standby.limits
        self._session = Session(
            server,
            self._script,
            clock,
            random,
            telemetry,
            joined=self._joined,
            beaten=self._beaten,
            fell=self._fell,
            told=self._told,
            held=lambda: self._standby.open | self._settlements.numbers(),
        )
        self._settlements = Settlements(self._script, self._limits, clock, telemetry)
        self._polls = Polls(clock, random)
        self._heard: Heard | None = None
        self._link: Link | None = None
        self._epoch = ""
        self._ahead = 0.0
        """The server's clock minus this process's, as far as replies tell: never more than it is."""
        self._trouble = ""
        self._away_since: float | None = None
        self._counted = 0.0

    async def start(self, heard: Heard) -> None:
        """Connect, or else go on with the local share. Raises OSError where the URL cannot be used."""
        self._heard = self._settlements.heard = self._polls.heard = heard
        await self._session.start()

    async def close(self) -> None:
        """Tell the server of the last settlements, and that this replica leaves."""
        if self._link is not None:
            leaving = self._link.call(partial(self._script.beat, 0.0))  # after everything that was settled
            await asyncio.wait([leaving], timeout=CLOSE_SECONDS)
        await self._session.close()
        self._polls.close()

    async def acquire(self, ask: Ask) -> Permit | Denial:
        """Charge all limits or none, within the timeout at the latest."""
        began = self._clock.now()
        while True:
            now = self._clock.now()
            link, own = self._link, self._standby.acquire(ask, now)
            if isinstance(own, Denial) or (own is not None and link is None):
                return own
            if link is not None:
                if now >= began + self._timeout:
                    link.fail(Trouble("timeout"))
                if decision := await self._ask(link, ask, own, began):
                    return decision

    def acquire_now(self, ask: Ask) -> Permit | Denial | None:
        """At once where nobody else is to be asked."""
        return self._standby.acquire(ask, self._clock.now()) if self._link is None else None

    async def settle(self, permit: Permit, settlement: Settlement, *, ended: bool = True) -> Effects:
        """Account for what an answer means; what the server makes of it is told to `Heard` later."""
        now, random = self._clock.now(), self._random.random()
        alone = self._standby.granted_alone(permit)
        effects = self._standby.settle(permit, settlement, now, random, ended=ended)
        debt = Debt(permit, settlement, random, effects, alone, ended=ended)
        self._settlements.owe(self._link, debt)
        return effects if self._link is None else NO_EFFECTS

    def release(self, permit: Permit) -> None:
        """Free an answer's place, here and on the server where that gave it."""
        debt = Debt(permit, None, 0.0, NO_EFFECTS, self._standby.granted_alone(permit))
        self._standby.release(permit, self._clock.now())
        if not debt.alone:
            self._settlements.owe(self._link, debt)

    def let_go(self, permit: Permit) -> list[HoldChange]:
        """Wait no longer for a probe, here or elsewhere."""
        if self._link is not None:
            self._link.call(partial(self._script.let_go, permit), urgent=False)
        return self._limits.holds.let_go(permit.probes, permit.number)

    async def clear(self, key: HoldKey) -> HoldChange | None:
        """End a hold because an operator says so, everywhere where the server can be reached."""
        own = self._limits.clear(key, self._clock.now())
        if self._link is None:
            return own
        began = self._clock.now()
        reply = await self._link.call(partial(self._script.clear, key))
        if isinstance(reply, Trouble):
            self._telemetry.failed("clear")
            return own
        now = self._clock.now()
        self._telemetry.operation("clear", "cleared", now - began)
        return self._script.cleared(reply, key, now) or own

    def forecast(self, ask: Ask, ahead: int) -> Forecast:
        """The earliest time that is possible as far as this replica knows."""
        return self._limits.forecast(ask, ahead, self._clock.now())

    def left(self, ask: Ask) -> Left:
        """What its limits leave to a request as far as this replica knows."""
        return self._limits.left(ask, self._clock.now())

    def view(self) -> tuple[Iterator[TenantView], Iterator[AppView], Iterator[HoldView]]:
        """Budgets and holds as far as this replica knows: what others sent it learns from its responses."""
        now, accounts = self._clock.now(), self._limits.accounts
        return accounts.views(now), accounts.app_views(now), self._limits.holds.each(now)

    def health(self) -> StoreView:
        """Whether the server decides, and for how many."""
        up = self._link is not None
        return StoreView("redis", up, "" if up else self._trouble, self._standby.replicas)

    async def _ask(self, link: Link, ask: Ask, own: Permit | None, asked_at: float) -> Permit | Denial | None:
        """What the server decides, together with the permit that this replica gave itself if both have to
        agree; None where there was no answer. All questions of one decision have the time of the first.
        """
        number = self._limits.number() if own is None else own.number
        arguments = partial(
            self._script.acquire,
            ask,
            number,
            more=self._heard is not None and self._heard.waiting(ask),
            epoch=self._epoch,
            void_after=asked_at + self._timeout + self._ahead,
        )
        try:
            reply = await link.call(arguments, asked_at)
        except asyncio.CancelledError:
            self._return(link, ask, number, own)
            raise
        if isinstance(reply, Trouble):
            self._telemetry.failed("acquire")
            if own is None:
                self._return(link, ask, number, own)
            else:
                self._standby.unheard(own)
            return own
        return self._decided(link, reply, ask, number, own, asked_at)

    def _decided(
        self, link: Link, reply: Any, ask: Ask, number: int, own: Permit | None, asked_at: float
    ) -> Permit | Denial | None:
        now = self._clock.now()
        decision = self._script.decision(reply, ask, number, now)
        self._ahead = max(self._ahead, decision.server_time - now)
        outcome = decision.outcome
        self._telemetry.operation("acquire", _OUTCOMES[type(outcome)], now - asked_at)
        if isinstance(outcome, Permit):
            if outcome.following is not None:
                self._polls.denied(ask, outcome.following)
            if own is None:
                self._standby.charge(outcome)
                return outcome
            own.following = outcome.following or own.following
            return own
        if own is not None:
            self._standby.settle(own, NOT_USED, now, 0.0)
        if isinstance(outcome, Denial):
            self._polls.denied(ask, outcome)
            return outcome
        self._ahead = decision.server_time - now
        if outcome.reason is VoidReason.EPOCH:
            link.fail(Trouble("flushed"))
        return None

    def _return(self, link: Link, ask: Ask, number: int, own: Permit | None) -> None:
        """Nobody uses what the server may have granted or may yet grant."""
        now = self._clock.now()
        if own is not None:
            self._standby.settle(own, NOT_USED, now, 0.0)
        permit = Permit(number, ask, keys_of(ask.app, ask.tenant, ask.api), now)
        debt = Debt(permit, NOT_USED, 0.0, NO_EFFECTS, alone=False, told=True)
        self._settlements.owe(link if link is self._link else None, debt)

    def _joined(self, link: Link, beat: Beat) -> None:
        now = self._clock.now()
        self._epoch, self._ahead = beat.epoch, beat.server_time - now
        self._standby.joined(beat.replicas, now)
        self._link = link
        if not self._settlements.deliver_kept(link):  # else the holds of a moment before are on their way
            self._mirror(beat, now)
        if self._away_since is not None:
            self._telemetry.fallback(now - self._counted)
            self._telemetry.back(now - self._away_since, beat.replicas)
            self._away_since = None

    def _beaten(self, beat: Beat) -> None:
        now = self._clock.now()
        self._standby.replicas = beat.replicas
        self._ahead = beat.server_time - now
        self._mirror(beat, now)

    def _mirror(self, beat: Beat, now: float) -> None:
        """Take over which holds there are, and tell of what was missed. Very many are not told."""
        if beat.holds is None:
            return
        holds = self._limits.holds
        known = {key: (hold.reason, hold.until) for key, hold in holds.active.items()}
        holds.mirror(beat.holds, now)
        for key, hold in holds.active.items():
            if key not in known or abs(hold.until - known[key][1]) > SLACK_SECONDS:
                self._changed(HoldChange(HoldAction.EXTENDED, key, hold.reason, hold.until, hold.probe))
        for key in known.keys() - holds.active.keys():
            self._changed(HoldChange(HoldAction.ENDED, key, known[key][0], now))

    def _told(self, message: bytes) -> None:
        """Somebody did something that others may wait for; this replica's own doing it knows already."""
        now = self._clock.now()
        match event(message, now):
            case Room(replica, app, tenant) if replica != self._replica and self._heard is not None:
                self._heard.released(app, tenant or None)
            case Held(replica, change) if replica != self._replica:
                self._standby.follow(change, now)
                self._changed(change)

    def _changed(self, change: HoldChange) -> None:
        if self._heard is not None:
            self._heard.hold_changed(change)

    def _fell(self, trouble: Trouble) -> None:
        now = self._clock.now()
        self._link, self._trouble = None, trouble.reason
        self._standby.fell(now)
        if trouble.reason == "closed":
            return
        self._telemetry.error(trouble.reason)
        if self._away_since is None:
            self._away_since = self._counted = now
            self._telemetry.away(trouble.reason)
        self._telemetry.fallback(now - self._counted)
        self._counted = now
