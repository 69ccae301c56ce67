"""Whose turn it is to ask for a permit.

At most one ticket of a line asks at a time, so a line keeps its order even where the answer comes over a
network. A line that was told *not now* waits for what blocked it: a time, the end of one of its own
attempts, the verdict of a probe, or its place among the lines that wait for the same app. Where such a
thing ended while the question was under way, the denial is outdated and the line asks again. What happens
next is always handed on: a turn that comes to nothing passes to the next line.

Nothing here waits: `wake` is called with a ticket whose turn has come (who is just joining or was just
denied sees it in `Place.asking`), `alarm` with a time and what comes back through `due` then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from proxy.core.limits.decision import Ask, Denial, Permit
from proxy.core.limits.holds import SILENT_SECONDS, HoldAction, HoldChange
from proxy.core.line.lines import FITTEST, Line, Ticket
from proxy.core.model import HoldKey, Limit, Scope, TenantView


class State(Enum):
    """What a line waits for before one of its tickets may ask."""

    OPEN = "nothing"
    LIMITED = "a time, or the end of one of its attempts"
    HELD = "a hold of its organisation or app"
    APP = "its place among the lines of its app"


@dataclass(slots=True, eq=False)
class Place:
    """A line and where it stands. `asking` is the ticket whose turn it is, `baton` the hold or app on
    whose behalf it asks. `holds` are those that it waits for, `settled` counts the attempts that ended;
    `asked` is what had been settled, of its own and in all, when the turn began. `blocked` collects the
    seconds that the line stood, by `blocked_by`, up to the moment `since`.
    """

    app: str
    line: Line = field(default_factory=Line)
    admitted: int = 0
    state: State = State.OPEN
    blocked_by: str = ""
    blocked: dict[str, float] = field(default_factory=dict)
    since: float = 0.0
    until: float | None = None
    asking: Ticket | None = None
    baton: HoldKey | str | None = None
    holds: set[HoldKey] = field(default_factory=set)
    settled: int = 0
    asked: tuple[int, int] = (0, 0)

    def shown(self, view: TenantView, now: float) -> TenantView:
        """An organisation as operators see it, with its line."""
        oldest = self.line.oldest()
        if oldest is None:
            return view
        return replace(
            view,
            queued=len(self.line),
            oldest_seconds=now - oldest,
            blocked_by=self.blocked_by,
            next_seconds=None if self.until is None else max(0.0, self.until - now),
        )

    def stood(self, now: float) -> dict[str, float]:
        """Seconds that the line has stood so far, by what it stood for."""
        self.blocked[self.blocked_by] = self.blocked.get(self.blocked_by, 0.0) + now - self.since
        self.since = now
        return self.blocked


@dataclass(slots=True)
class Ring:
    """The lines that wait for one app's limit, in the order in which they get their turns. Only the first
    asks, and it stays there until it is answered.
    """

    places: OrderedDict[Place, None] = field(default_factory=OrderedDict)
    until: float | None = None


Due = Place | HoldKey | str
"""What an alarm is for: a line, a hold, or an app by its name."""


class Turns:
    """All lines, and what each of them waits for."""

    def __init__(self, wake: Callable[[Ticket], None], alarm: Callable[[float, Due], None]) -> None:
        self._wake = wake
        self._alarm = alarm
        self._places: dict[tuple[str, str | None], Place] = {}
        self._parked: dict[HoldKey, dict[Place, None]] = {}
        self._rings: dict[str, Ring] = {}
        self._hold_alarms: dict[HoldKey, float] = {}
        self._settled = 0

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def place(self, ask: Ask) -> Place:
        """The line that a request with these limits stands in."""
        key = (ask.app, ask.tenant)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(ask.app)
        return place

    def find(self, ask: Ask) -> Place | None:
        """The same, if anybody stands or is expected there."""
        return self._places.get((ask.app, ask.tenant))

    def clear(self, ask: Ask) -> bool:
        """Whether nobody stands before a request with these limits, or is asking."""
        place = self.find(ask)
        idle = place is None or (place.state is State.OPEN and place.asking is None and not place.line)
        return idle and ask.app not in self._rings

    def join(self, place: Place, ticket: Ticket) -> None:
        """Stand in line; it can be this ticket's turn at once."""
        place.line.join(ticket)
        self._go_on(place)

    def granted(self, place: Place, ticket: Ticket, permit: Permit) -> None:
        """The ticket has its permit: it leaves, and whoever is next may ask."""
        baton = self._end_turn(place)
        place.line.leave(ticket)
        if isinstance(baton, HoldKey) and baton not in permit.probes:
            self._release(baton)
        for key in permit.probes:
            if place in (parked := self._parked.get(key, {})):  # the others have their turns before it
                parked[place] = parked.pop(place)
            if parked and key not in self._hold_alarms:
                self._alarm_hold(key, permit.granted_at + SILENT_SECONDS)
        if isinstance(baton, str):
            self._leave_ring(place)
        full = permit.following
        if full and place.line and place.state is State.OPEN and not self._outdated(place, full):
            place.blocked_by = full.limit
            self._wait_for(place, full)
        self._go_on(place)
        if isinstance(baton, str):
            self._next_of_app(baton)

    def denied(self, place: Place, denial: Denial) -> None:
        """The ticket that asked was told *not now*: its line waits for what blocks it, or asks again."""
        outdated = self._outdated(place, denial)
        baton = self._end_turn(place)
        awaited = denial.hold or (place.app if denial.limit == Limit.APP_MINUTE else None)
        if not outdated:
            place.blocked_by = denial.limit
            if baton != awaited:
                self._withdraw(place, baton)
            self._wait_for(place, denial)
        if outdated or baton != awaited:
            self._pass_on(baton)
        self._go_on(place)

    def left(self, place: Place, ticket: Ticket) -> None:
        """The ticket gives up its place wherever it is."""
        place.line.leave(ticket)
        if place.asking is ticket:
            self._pass_on(self._end_turn(place))
            self._go_on(place)

    def settled(self, ask: Ask, changes: Iterable[HoldChange]) -> None:
        """An attempt has ended: who waited for that, or for a time that it can have changed, may ask."""
        self._settled += 1
        for change in changes:
            self._follow(change)
        if place := self.find(ask):
            place.settled += 1
            if place.state is State.LIMITED:
                self._open(place)
        self._next_of_app(ask.app)

    def hold_changed(self, change: HoldChange) -> None:
        """A hold changed without an attempt of ours: an operator ended it, or another process changed it."""
        self._settled += 1
        self._follow(change)

    def due(self, what: Due, when: float) -> None:
        """An alarm: the time has come that `what` waited for. Outdated alarms do nothing."""
        if not self.awaits(what, when):
            return
        match what:
            case Place():
                self._open(what)
            case HoldKey():
                del self._hold_alarms[what]
                self._probe(what)
            case app:
                self._next_of_app(app)

    def awaits(self, what: Due, when: float) -> bool:
        """Whether an alarm for `when` still matters."""
        match what:
            case Place():
                return what.state is State.LIMITED and what.until == when
            case HoldKey():
                return self._hold_alarms.get(what) == when
            case app:
                return (ring := self._rings.get(app)) is not None and ring.until == when

    def affected(self, key: HoldKey) -> Iterator[Ticket]:
        """The tickets that a hold stops."""
        places: Iterable[Place | None] = self._places.values()
        if key.scope in {Scope.TENANT, Scope.TENANT_API}:
            places = (self._places.get((key.app, key.tenant or None)),)
        for place in places:
            if place and (not key.app or place.app == key.app):
                yield from (ticket for ticket in place.line if not key.api or ticket.ask.api == key.api)

    def forget_if_idle(self, ask: Ask) -> None:
        """Drop a line where nobody stands and nobody is expected."""
        place = self.find(ask)
        if place is None or place.admitted or place.line or place.asking:
            return
        for key in tuple(place.holds):
            self._unpark(place, key)
        self._leave_ring(place)
        del self._places[ask.app, ask.tenant]

    def _go_on(self, place: Place) -> None:
        """Let the next ticket of an open line ask, or the line stand where others wait for the app."""
        if place.state is State.OPEN and place.asking is None and (head := place.line.head()):
            if place.app in self._rings:
                self._stand_in_ring(place)
            else:
                self._begin_turn(place, head, None)

    def _begin_turn(self, place: Place, ticket: Ticket, baton: HoldKey | str | None) -> None:
        place.asking, place.baton = ticket, baton
        place.asked = place.settled, self._settled
        self._wake(ticket)

    @staticmethod
    def _end_turn(place: Place) -> HoldKey | str | None:
        baton, place.baton, place.asking = place.baton, None, None
        return baton

    def _outdated(self, place: Place, denial: Denial) -> bool:
        """Whether something ended, since the turn began, that the denial may not know of."""
        own, everybodys = place.asked
        if denial.hold is None and denial.limit != Limit.APP_MINUTE:
            return place.settled != own
        return self._settled != everybodys

    def _wait_for(self, place: Place, denial: Denial) -> None:
        if denial.hold is not None:
            self._park(place, denial.hold, denial.until)
        elif denial.limit == Limit.APP_MINUTE:
            self._stand_in_ring(place)
            self._rings[place.app].until = denial.until
            if denial.until is not None:
                self._alarm(denial.until, place.app)
        else:
            place.state, place.until = State.LIMITED, denial.until
            if denial.until is not None:
                self._alarm(denial.until, place)

    def _withdraw(self, place: Place, baton: HoldKey | str | None) -> None:
        """What the line asked for is not what it has to wait for."""
        if isinstance(baton, HoldKey):
            self._unpark(place, baton)
        else:
            self._leave_ring(place)

    def _pass_on(self, baton: HoldKey | str | None) -> None:
        """The turn came to nothing: the next who waits for the same thing has it."""
        if isinstance(baton, HoldKey):
            self._probe(baton)
        elif baton is not None:
            self._next_of_app(baton)

    def _open(self, place: Place) -> None:
        place.state, place.until = State.OPEN, None
        self._go_on(place)

    def _follow(self, change: HoldChange) -> None:
        match change.action:
            case HoldAction.ENDED | HoldAction.CLEARED:
                self._release(change.key)
            case HoldAction.INCONCLUSIVE:
                self._probe(change.key)
            case _ if change.key in self._parked:
                self._alarm_hold(change.key, change.until)

    def _park(self, place: Place, key: HoldKey, until: float | None) -> None:
        place.holds.add(key)
        self._parked.setdefault(key, {})[place] = None
        if key.api:
            place.line.parked.add(key.api)
        else:
            place.state = State.HELD
        if until is not None:
            self._alarm_hold(key, until)

    def _alarm_hold(self, key: HoldKey, until: float) -> None:
        if self._hold_alarms.get(key) != until:
            self._hold_alarms[key] = until
            self._alarm(until, key)

    def _unpark(self, place: Place, key: HoldKey) -> None:
        if key not in place.holds:
            return
        place.holds.remove(key)
        places = self._parked[key]
        del places[place]
        if not places:
            del self._parked[key]
        if key.api:
            place.line.parked = {other.api for other in place.holds if other.api}
        elif place.state is State.HELD:
            place.state = State.OPEN

    def _release(self, key: HoldKey) -> None:
        """The hold is over: everybody who waited for it may ask."""
        for place in list(self._parked.get(key, ())):
            self._unpark(place, key)
            self._go_on(place)

    def _probe(self, key: HoldKey) -> None:
        """Let one ticket ask, the fittest of all; it is the probe when it is granted. Where every line has
        something else to wait for as well, all go back to that: the first to ask is the probe.
        """
        chosen, parked = None, self._parked.get(key, {})
        for place in parked:
            if place.asking is None and place.state in {State.OPEN, State.HELD}:
                ticket = place.line.probe(key.api)
                if ticket and (chosen is None or ticket.unfit < chosen[1].unfit):
                    chosen = (place, ticket)
                if ticket and ticket.unfit == FITTEST:
                    break
        if chosen is None:
            self._release(key)
        else:
            self._begin_turn(*chosen, key)

    def _stand_in_ring(self, place: Place) -> None:
        place.state, place.blocked_by = State.APP, Limit.APP_MINUTE
        self._rings.setdefault(place.app, Ring()).places.setdefault(place)

    def _leave_ring(self, place: Place) -> None:
        if place.state is State.APP:
            place.state = State.OPEN
            places = self._rings[place.app].places
            del places[place]
            if not places:
                del self._rings[place.app]

    def _next_of_app(self, app: str) -> None:
        """Let the first line of the ring ask, if it does not already."""
        while ring := self._rings.get(app):
            place = next(iter(ring.places))
            if place.asking:
                return
            if head := place.line.head():
                self._begin_turn(place, head, app)
                return
            self._leave_ring(place)
