"""Who goes next, when, and who need not wait at all.

Every request is admitted (or refused at once), stands in line, asks for a permit when its turn comes, and
settles the permit when its attempt has ended. The rules are in `proxy.core`: what a permit costs in
`limits`, the order of a line in `lines`, whose turn it is in `turns`. Here are the futures that callers
wait on and the deadlines that end a wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from proxy.clock import Clock
from proxy.core.limits.decision import Ask, Denial, Effects, Forecast, Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldChange
from proxy.core.line.lines import Ticket, Waiting
from proxy.core.line.refusal import Refusal
from proxy.core.line.turns import Due, Place, Turns
from proxy.core.model import Execution, HoldKey, Left, Limit, LimitChange, ResponseClass, Scope, Snapshot
from proxy.observe.steps import Steps, whole
from proxy.stores import Store
from proxy.waiting.alarms import Alarms
from proxy.waiting.paced import Paced
from proxy.waiting.prospects import Prospects
from proxy.waiting.snapshot import has_room, look
from proxy.waiting.spent_limits import SpentLimits

NEVER_SENT = Settlement(ResponseClass("caller_left", Execution.NEVER_SENT), sent=False, head_at=0.0)


class Scheduler:
    """Hands out permits in order. `observe` is told of every change of a hold with the seconds left, `spent`
    of limits that are spent or have room again, `foreign` of calls that others made on the same limit.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        waiting: Waiting,
        *,
        observe: Callable[[HoldChange, float], None] = lambda _change, _seconds: None,
        foreign: Callable[[Ask, int], None] = lambda _ask, _count: None,
        spent: Callable[[LimitChange], None] = lambda _change: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._waiting = waiting
        self._observe = observe
        self._foreign = foreign
        self._alarms: Alarms[Due | Ticket] = Alarms(clock, self._due, self._matters)
        self._turns = Turns(self._wake, self._alarms.add)
        self._spent = SpentLimits(partial(has_room, store, self._turns), spent, clock)
        self._futures: dict[Ticket, asyncio.Future[Refusal | None]] = {}
        self._refusals = Paced(clock, self._refuse)
        self._admitted = 0
        self._prospects = Prospects(store, clock)

    def admit(self, ticket: Ticket) -> Refusal | None:
        """Count a request as waiting, or say at once why it need not wait. To be followed by `acquire`
        or `leave`; `acquire` admits whoever has to wait and was not admitted before.
        """
        if refusal := self.hopeless(ticket):
            return refusal
        place = self._turns.place(ticket.ask)
        ticket.admitted = ticket.known = True
        place.admitted += 1
        self._admitted += 1
        return None

    def hopeless(self, ticket: Ticket) -> Refusal | None:
        """Why a request need not wait, as `admit` says it; it counts as waiting no more than before."""
        place = self._turns.place(ticket.ask)
        full = place.admitted >= self._waiting.per_tenant or self._admitted >= self._waiting.total
        refusal = self._prospects.on_arrival(place, ticket, full=full)
        if refusal is not None:
            self._spent.note(ticket.ask, refusal.limit)
        self._turns.forget_if_idle(ticket.ask)
        return refusal

    async def acquire(self, ticket: Ticket) -> Permit | Refusal | None:
        """Wait for a permit; None when the caller left meanwhile. Never later than the deadline."""
        if ticket.left:
            return None
        if not ticket.known and (refusal := self.admit(ticket)):
            return refusal
        self._prospects.cap(ticket)
        try:
            return await self._stand(self._turns.place(ticket.ask), ticket)
        finally:
            self._leave(ticket)

    def take(self, ticket: Ticket) -> Permit | None:
        """A permit at once, where nobody stands before this request and nothing stops it; else `acquire`."""
        if ticket.left or self._prospects.over(ticket) or not self._turns.clear(ticket.ask):
            return None
        decision = self._store.acquire_now(ticket.ask)
        if not isinstance(decision, Permit):
            self._spent.decided(ticket.ask, decision)
            return None
        if decision.following is not None:  # told apart, lest a permit be lost where that fails
            asyncio.get_running_loop().call_soon(self._spent.decided, ticket.ask, decision)
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
        self._wake(ticket)

    async def settle(self, permit: Permit, settlement: Settlement, *, ended: bool = True) -> None:
        """Account for what an answer means; `release` is to follow where it has not `ended` yet."""
        self._spent.learn(permit.ask, settlement.remaining)
        self.settled(permit, await self._store.settle(permit, settlement, ended=ended))

    def release(self, permit: Permit) -> None:
        """The last byte of an answer has come; called again it does nothing."""
        if not permit.released:
            self._store.release(permit)
            self._turns.settled(permit.ask, ())

    def let_go(self, permit: Permit) -> None:
        """The caller of a probe has left, so that nobody need wait for its verdict."""
        if not permit.settled:
            self.settled(permit, Effects(tuple(self._store.let_go(permit))))

    def settled(self, permit: Permit, effects: Effects) -> None:
        """What came of a settlement, be it known at once or later."""
        try:
            for change in effects.holds:
                self._observe(change, max(0.0, change.until - self._clock.now()))
                self._refuse_hopeless(change)
            if effects.foreign:
                self._foreign(permit.ask, effects.foreign)
        finally:
            self._turns.settled(permit.ask, effects.holds)

    async def clear(self, key: HoldKey) -> bool:
        """End a hold because an operator says so, and what is believed of an organisation's day; False where
        nothing stood in the way.
        """
        if change := await self._store.clear(key):
            self._observe(change, 0.0)
            self.hold_changed(change)
        return change is not None

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
        if change.action is HoldAction.CLEARED and change.key.scope is Scope.TENANT:
            self.released(change.key.app, change.key.tenant)  # also from what is believed of its day

    def drain(self, until: float) -> None:
        """Let nobody wait beyond `until`; whoever cannot make it is refused now."""
        self._prospects.drain_until = until
        for place in self._turns:
            ahead = 0
            for ticket in sorted(place.line, key=lambda ticket: ticket.rank):
                self._prospects.cap(ticket)
                self._alarms.add(ticket.deadline, ticket)
                if refusal := self._prospects.in_line(place, ticket, ahead):
                    self._refusals.add((ticket, refusal))
                elif ticket.ask.api not in place.line.parked:
                    ahead += 1

    def left(self, ask: Ask) -> Left:
        """What its limits leave to a request, as far as this process knows."""
        return self._store.left(ask)

    def snapshot(self) -> Snapshot:
        """Everything that operators may see, in one go."""
        return whole(self.look())

    def look(self) -> Steps[Snapshot]:
        """The same in steps, as it was at the first of them."""
        waiting, draining = self._admitted, self._prospects.drain_until is not None
        seen = yield from look(self._store, self._turns, self._clock.now())
        return replace(seen, waiting=waiting, draining=draining)

    def close(self) -> None:
        """Stop the timers."""
        self._alarms.close()
        self._refusals.close()
        self._spent.close()

    async def _stand(self, place: Place, ticket: Ticket) -> Permit | Refusal | None:
        self._turns.join(place, ticket)
        # It may have been admitted long ago, and a new hold told only those who stood in line.
        unsure = place.asking is not ticket and (place.holds or not ticket.admitted)
        if unsure and (refusal := self._prospects.in_line(place, ticket)):
            return refusal
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
        if self._prospects.over(ticket):
            return self._prospects.expired(place, ticket)
        decision = await self._store.acquire(ticket.ask)
        if isinstance(decision, Permit):
            used = False
            try:
                self._spent.decided(ticket.ask, decision)
                self._turns.granted(place, ticket, decision)
                used = not (ticket.left or self._prospects.over(ticket))
            finally:
                if not used:
                    await self.settle(decision, NEVER_SENT)
            if used or ticket.left:
                return decision if used else None
            return self._prospects.expired(place, ticket)
        self._spent.decided(ticket.ask, decision)
        self._turns.denied(place, decision)
        # Whoever is to ask again was told nothing that holds, but it took its time.
        at = self._clock.now() if place.asking is ticket else decision.until
        known = decision.limit != Limit.DAY or decision.hold is not None
        told = Forecast(decision.limit, at or 0.0, known)
        if at is None:
            return decision
        return self._prospects.too_late(ticket, self._prospects.told(ticket.ask, told)) or decision

    async def _wait(self, place: Place, ticket: Ticket) -> Refusal | None:
        """Until the ticket's turn (None), or its refusal."""
        future: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self._futures[ticket] = future
        self._alarms.add(ticket.deadline, ticket)
        before = dict(place.stood(self._clock.now()))
        try:
            return await future
        finally:
            del self._futures[ticket]
            for limit, seconds in place.stood(self._clock.now()).items():
                if waited := seconds - before.get(limit, 0.0):
                    ticket.waited[limit] = ticket.waited.get(limit, 0.0) + waited

    def _wake(self, ticket: Ticket) -> None:
        future = self._futures.get(ticket)
        if future is not None and not future.done():
            future.set_result(None)

    def _due(self, what: Due | Ticket, when: float) -> None:
        if not isinstance(what, Ticket):
            self._turns.due(what, when)
        elif self._matters(what, when):
            self._refusals.add((what, None))

    def _refuse(self, refused: tuple[Ticket, Refusal | None]) -> bool:
        ticket, refusal = refused
        future = self._futures.get(ticket)
        if future is None or future.done():
            return False
        future.set_result(refusal or self._prospects.expired(self._turns.place(ticket.ask), ticket))
        return True

    def _matters(self, what: Due | Ticket, when: float) -> bool:
        if isinstance(what, Ticket):
            return what in self._futures and what.deadline <= when
        return self._turns.awaits(what, when)

    def _refuse_hopeless(self, change: HoldChange) -> None:
        """Where a hold has begun or grown, whoever cannot outwait it, or what it hides, is told at once."""
        if change.action not in {HoldAction.BEGUN, HoldAction.EXTENDED}:
            return
        told = Forecast(change.reason, change.until)
        for hopeless in self._prospects.hopeless(self._turns.affected(change.key), told):
            self._refusals.add(hopeless)
