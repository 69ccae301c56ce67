"""Who goes next, when, and who need not wait at all.

Every request is admitted (or refused at once), stands in line, asks for a permit when its turn comes, and
settles the permit when its attempt has ended. The rules are in `proxy.core`: what a permit costs in
`limits`, the order of a line in `lines`, whose turn it is in `turns`. Here are the futures that callers
wait on and the deadlines that end a wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.alarms import Alarms
from proxy.clock import Clock
from proxy.core.holds import HoldAction, HoldChange
from proxy.core.limits import Ask, Denial, Effects, Forecast, Permit, Settlement
from proxy.core.lines import Ticket
from proxy.core.model import Execution, HoldKey, ResponseClass, Snapshot, TenantView
from proxy.core.place import Due, Place
from proxy.core.refusal import Refusal, Why
from proxy.core.turns import Turns
from proxy.stores import Store

NEVER_SENT = Settlement(ResponseClass("caller_left", Execution.NEVER_SENT), sent=False, head_at=0.0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much may wait: requests of one organisation, and in all."""

    per_tenant: int = 1000
    total: int = 10_000


class Scheduler:
    """Hands out permits in order. `observe` is told of every change of a hold with the seconds left,
    `foreign` of calls that others made on an organisation's limit.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        waiting: Waiting,
        *,
        observe: Callable[[HoldChange, float], None] = lambda _change, _seconds: None,
        foreign: Callable[[Ask, int], None] = lambda _ask, _count: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._waiting = waiting
        self._observe = observe
        self._foreign = foreign
        self._alarms: Alarms[Due | Ticket] = Alarms(clock, self._due, self._matters)
        self._turns = Turns(self._wake, self._alarms.add)
        self._futures: dict[Ticket, asyncio.Future[Refusal | None]] = {}
        self._admitted = 0
        self._drain_until: float | None = None

    def admit(self, ticket: Ticket) -> Refusal | None:
        """Count a request as waiting, or say at once why it need not wait. To be followed by `acquire`
        or `leave`; `acquire` admits whoever has to wait and was not admitted before.
        """
        self._cap(ticket)
        place = self._turns.place(ticket.ask)
        forecast = self._store.forecast(ticket.ask, place.line.ahead(ticket.urgency))
        full = place.admitted >= self._waiting.per_tenant or self._admitted >= self._waiting.total
        if full or self._too_late(ticket, forecast):
            self._turns.forget_if_idle(ticket.ask)
            limit = forecast.limit or place.blocked_by
            return Refusal(Why.QUEUE_FULL if full else self._why_late(), limit, forecast.at)
        ticket.admitted = ticket.known = True
        place.admitted += 1
        self._admitted += 1
        return None

    async def acquire(self, ticket: Ticket) -> Permit | Refusal | None:
        """Wait for a permit; None when the caller left meanwhile. Never later than the deadline."""
        if ticket.left:
            return None
        if not ticket.known and (refusal := self.admit(ticket)):
            return refusal
        self._cap(ticket)
        try:
            return await self._stand(self._turns.place(ticket.ask), ticket)
        finally:
            self._leave(ticket)

    def take(self, ticket: Ticket) -> Permit | None:
        """A permit at once, where nobody stands before this request and nothing stops it; else `acquire`."""
        if ticket.left or not self._turns.clear(ticket.ask):
            return None
        decision = self._store.acquire_now(ticket.ask)
        if not isinstance(decision, Permit):
            return None
        ticket.known = True
        self.leave(ticket)
        return decision

    def leave(self, ticket: Ticket) -> None:
        """Give up what `admit` reserved; called again it does nothing."""
        if ticket.admitted:
            self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        if (place := self._turns.find(ticket.ask)) is None:
            return
        if ticket.admitted:
            ticket.admitted = False
            place.admitted -= 1
            self._admitted -= 1
        self._turns.left(place, ticket)
        self._turns.forget_if_idle(ticket.ask)

    def caller_left(self, ticket: Ticket) -> None:
        """The caller has gone: `acquire` returns None as soon as it runs."""
        ticket.left = True
        self._answer(ticket, None)

    async def settle(self, permit: Permit, settlement: Settlement) -> None:
        """Account for an attempt that has ended, and let others go for whom that made room."""
        self.settled(permit, await self._store.settle(permit, settlement))

    def settled(self, permit: Permit, effects: Effects) -> None:
        """What came of a settlement, be it known at once or later."""
        for change in effects.holds:
            self._observe(change, max(0.0, change.until - self._clock.now()))
            self._refuse_hopeless(change)
        if effects.foreign:
            self._foreign(permit.ask, effects.foreign)
        self._turns.settled(permit.ask, effects.holds)

    async def clear(self, key: HoldKey) -> bool:
        """End a hold because an operator says so; False where there is none."""
        change = await self._store.clear(key)
        if change is None:
            return False
        self._observe(change, 0.0)
        self._turns.hold_changed(change)
        return True

    def waiting(self, ask: Ask) -> bool:
        """Whether more requests of this organisation wait behind the one that asks."""
        place = self._turns.find(ask)
        return place is not None and len(place.line) > 1

    def released(self, app: str, tenant: str | None) -> None:
        """Another process made room for calls of one organisation, or (None) of one app."""
        self._turns.settled(Ask(app, tenant, ""), ())

    def hold_changed(self, change: HoldChange) -> None:
        """Another process's attempt changed a hold, which is logged and counted there."""
        self._refuse_hopeless(change)
        self._turns.hold_changed(change)

    def drain(self, until: float) -> None:
        """Let nobody wait beyond `until`; whoever cannot make it is refused now."""
        self._drain_until = until
        for place in self._turns:
            ahead = 0
            for ticket in sorted(place.line, key=lambda ticket: ticket.rank):
                self._cap(ticket)
                self._alarms.add(ticket.deadline, ticket)
                forecast = self._store.forecast(ticket.ask, ahead)
                if self._too_late(ticket, forecast):
                    self._answer(ticket, Refusal(Why.DRAINING, forecast.limit, forecast.at))
                elif ticket.ask.api not in place.line.parked:
                    ahead += 1

    def snapshot(self) -> Snapshot:
        """Everything that operators may see."""
        tenants, apps, holds = self._store.view()
        return Snapshot(
            store=self._store.health(),
            tenants=tuple(self._with_line(view) for view in tenants),
            apps=tuple(apps),
            holds=holds,
            waiting=self._admitted,
            draining=self._drain_until is not None,
        )

    def close(self) -> None:
        """Stop the timer."""
        self._alarms.close()

    async def _stand(self, place: Place, ticket: Ticket) -> Permit | Refusal | None:
        self._turns.join(place, ticket)
        # It may have been admitted long ago, and a new hold told only those who stood in line.
        if place.asking is not ticket and (place.holds or not ticket.admitted):
            forecast = self._store.forecast(ticket.ask, 0)
            if self._too_late(ticket, forecast):
                return Refusal(self._why_late(), forecast.limit, forecast.at)
        while True:
            if place.asking is ticket:
                decision = await self._ask(place, ticket)
                if not isinstance(decision, Denial):
                    return decision
            elif refusal := await self._wait(place, ticket):
                return refusal
            if ticket.left:
                return None

    async def _ask(self, place: Place, ticket: Ticket) -> Permit | Refusal | Denial | None:
        decision = await self._store.acquire(ticket.ask)
        if isinstance(decision, Permit):
            self._turns.granted(place, ticket, decision)
            if ticket.left:
                await self.settle(decision, NEVER_SENT)
                return None
            return decision
        self._turns.denied(place, decision)
        # Whoever is to ask again was told nothing that holds, but it took its time.
        at = self._clock.now() if place.asking is ticket else decision.until
        if at is None or (stop := self._longest(ticket.ask, decision.limit, at)).at <= ticket.deadline:
            return decision
        return Refusal(self._why_late(), stop.limit, stop.at)

    async def _wait(self, place: Place, ticket: Ticket) -> Refusal | None:
        """Until the ticket's turn (None), or its refusal."""
        future: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self._futures[ticket] = future
        self._alarms.add(ticket.deadline, ticket)
        before = dict(self._blocked(place))
        try:
            return await future
        finally:
            del self._futures[ticket]
            for limit, seconds in self._blocked(place).items():
                if waited := seconds - before.get(limit, 0.0):
                    ticket.waited[limit] = ticket.waited.get(limit, 0.0) + waited

    def _blocked(self, place: Place) -> dict[str, float]:
        """Seconds that a line has stood so far, by what it stood for."""
        now = self._clock.now()
        place.blocked[place.blocked_by] = place.blocked.get(place.blocked_by, 0.0) + now - place.since
        place.since = now
        return place.blocked

    def _wake(self, ticket: Ticket) -> None:
        self._answer(ticket, None)

    def _answer(self, ticket: Ticket, answer: Refusal | None) -> None:
        future = self._futures.get(ticket)
        if future is not None and not future.done():
            future.set_result(answer)

    def _due(self, what: Due | Ticket, when: float) -> None:
        if not isinstance(what, Ticket):
            self._turns.due(what, when)
        elif self._matters(what, when):
            place = self._turns.place(what.ask)
            forecast = self._store.forecast(what.ask, place.line.before(what))
            why = Why.DRAINING if self._drain_until is not None else Why.DEADLINE
            self._answer(what, Refusal(why, forecast.limit or place.blocked_by, forecast.at))

    def _matters(self, what: Due | Ticket, when: float) -> bool:
        if isinstance(what, Ticket):
            return what in self._futures and what.deadline <= when
        return self._turns.awaits(what, when)

    def _cap(self, ticket: Ticket) -> None:
        if self._drain_until is not None:
            ticket.deadline = min(ticket.deadline, self._drain_until)

    def _too_late(self, ticket: Ticket, forecast: Forecast) -> bool:
        """Whoever can go now need not wait, even where the deadline passed on the way here."""
        return forecast.at > max(ticket.deadline, self._clock.now())

    def _why_late(self) -> Why:
        return Why.HOPELESS if self._drain_until is None else Why.DRAINING

    def _refuse_hopeless(self, change: HoldChange) -> None:
        """Where a hold has begun or grown, whoever cannot outwait it, or what it hides, is told at once."""
        if change.action not in {HoldAction.BEGUN, HoldAction.EXTENDED}:
            return
        for ticket in self._turns.affected(change.key):
            stop = self._longest(ticket.ask, change.reason, change.until)
            if stop.at > ticket.deadline:
                self._answer(ticket, Refusal(self._why_late(), stop.limit, stop.at))

    def _longest(self, ask: Ask, limit: str, at: float) -> Forecast:
        """What stops a request longest where `limit` stops it until `at`."""
        forecast = self._store.forecast(ask, 0)
        return forecast if forecast.at > at else Forecast(limit, at)

    def _with_line(self, view: TenantView) -> TenantView:
        place = self._turns.find(Ask(view.app, view.tenant, ""))
        if place is None or not len(place.line):
            return view
        now = self._clock.now()
        oldest = place.line.oldest()
        return replace(
            view,
            queued=len(place.line),
            oldest_seconds=now - oldest if oldest is not None else 0.0,
            blocked_by=place.blocked_by,
            next_seconds=None if place.until is None else max(0.0, place.until - now),
        )
