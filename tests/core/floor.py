"""Lines and turns with nothing around them, for the tests of whose turn it is."""

from __future__ import annotations

from proxy.core.limits.decision import Ask, Denial, Permit
from proxy.core.limits.holds import HoldAction, HoldChange
from proxy.core.line.lines import Ticket
from proxy.core.line.turns import Due, Place, Turns
from proxy.core.model import HoldKey, Scope

A, B, C = (Ask("app", tenant, "accounting") for tenant in ("a", "b", "c"))
FILES = Ask("app", "a", "files")
ON_APP = HoldKey(Scope.APP, app="app")
ON_A = HoldKey(Scope.TENANT, app="app", tenant="a")
ON_API = HoldKey(Scope.API, api="accounting")


def change(action: HoldAction, key: HoldKey, until: float = 0.0) -> HoldChange:
    return HoldChange(action, key, "offline", until)


class Floor:
    """Turns, and what they asked for."""

    def __init__(self) -> None:
        self.woken: list[Ticket] = []
        self.alarms: list[tuple[float, Due]] = []
        self.turns = Turns(self.woken.append, lambda when, what: self.alarms.append((when, what)))
        self._moment = 0.0

    def join(self, ask: Ask, *, safe: bool = True, urgency: int = 3) -> Ticket:
        """One more in line, later than all before."""
        self._moment += 0.001
        ticket = Ticket(ask, self._moment, 1e9, urgency, safe)
        self.turns.join(self.turns.place(ask), ticket)
        return ticket

    def place(self, ticket: Ticket) -> Place:
        place = self.turns.find(ticket.ask)
        assert place is not None
        return place

    def asks(self, ticket: Ticket) -> bool:
        return self.place(ticket).asking is ticket

    def grant(self, ticket: Ticket, *probes: HoldKey, following: Denial | None = None) -> None:
        assert self.asks(ticket)
        self.turns.granted(self.place(ticket), ticket, Permit(1, ticket.ask, (), 0.0, probes, following))

    def deny(
        self, ticket: Ticket, limit: str, until: float | None = None, hold: HoldKey | None = None
    ) -> None:
        assert self.asks(ticket)
        self.turns.denied(self.place(ticket), Denial(limit, until, hold))

    def leave(self, ticket: Ticket) -> None:
        self.turns.left(self.place(ticket), ticket)
        self.turns.forget_if_idle(ticket.ask)

    def settle(self, ask: Ask, *changes: HoldChange) -> None:
        self.turns.settled(ask, changes)

    def ring(self, number: int) -> None:
        when, what = self.alarms[number]
        self.turns.due(what, when)

    def is_empty(self) -> bool:
        turns = self.turns
        return not (turns._places or turns._parked or turns._rings or list(turns))
