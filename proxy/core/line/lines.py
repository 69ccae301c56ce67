"""The waiting line of one organisation: a lane for each API and urgency, first come first served inside.

A request of urgency *u* stands where one of urgency 0 would stand that came `u × AGEING_SECONDS` later, so
the urgent go first and nothing starves: whoever has waited long enough is first whatever its urgency.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.core.limits.decision import Ask

PROMPT_SECONDS = 1.0
"""Whoever wants no wait at all has so long for its body to come; it is sent at once then, or never."""
AGEING_SECONDS = 10.0
"""How long a wait makes up for one step of urgency."""
FITTEST = (False, False)
"""As a probe: what is answered soon and changes nothing."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much may wait: requests of one organisation, and in all."""

    per_tenant: int = 1000
    total: int = 10_000


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's place: when it came, when it must be answered, how urgent it is (0 most, 7 least).

    `safe` marks a GET or HEAD, which is preferred as a probe; `slow` what may not end soon, which is none
    where another waits. `waited` collects the seconds spent on each limit or hold that blocked it.
    `admitted` while it counts as waiting, `known` once it has been; `left` once its caller has gone. `place`
    is what it stands by in its lane: when it came, and which joined first of those that came at once.
    """

    ask: Ask
    arrived: float
    deadline: float
    urgency: int = 3
    safe: bool = True
    slow: bool = False
    waited: dict[str, float] = field(default_factory=dict)
    admitted: bool = False
    known: bool = False
    left: bool = False
    place: tuple[float, int] = (0.0, 0)

    @property
    def prompt_until(self) -> float:
        """So long it may be sent where it need not wait, whatever its deadline."""
        return self.arrived + PROMPT_SECONDS

    @property
    def rank(self) -> float:
        """Who has the lowest goes first."""
        return self.arrived + self.urgency * AGEING_SECONDS

    @property
    def unfit(self) -> tuple[bool, bool]:
        """How little it is fit to be a probe: the least is `FITTEST`."""
        return self.slow, not self.safe


class Line:
    """The tickets of one organisation (or of one app's calls without one) that wait for a permit."""

    __slots__ = ("_joined", "_lanes", "parked")

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, int], list[Ticket]] = {}
        self._joined = 0
        self.parked: set[str] = set()
        """API families whose hold these tickets wait for; the others may overtake them."""

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __iter__(self) -> Iterator[Ticket]:
        for lane in self._lanes.values():
            yield from lane

    def join(self, ticket: Ticket) -> None:
        """Stand in its lane by arrival: at the end, or near the front if it stood there before."""
        self._joined += 1
        ticket.place = (ticket.arrived, self._joined)
        insort(self._lanes.setdefault((ticket.ask.api, ticket.urgency), []), ticket, key=_place)

    def leave(self, ticket: Ticket) -> bool:
        """Take a ticket out wherever it stands; False if it stood nowhere."""
        name = (ticket.ask.api, ticket.urgency)
        lane = self._lanes.get(name, [])
        at = bisect_left(lane, ticket.place, key=_place)
        if at == len(lane) or lane[at] is not ticket:
            return False
        del lane[at]
        if not lane:
            del self._lanes[name]
        return True

    def head(self) -> Ticket | None:
        """Who goes next, among those whose API is not held."""
        if len(self._lanes) == 1 and not self.parked:
            return next(iter(self._lanes.values()))[0]
        heads = (lane[0] for (api, _), lane in self._lanes.items() if api not in self.parked)
        return min(heads, key=_rank, default=None)

    def probe(self, api: str = "") -> Ticket | None:
        """Who goes as the probe of a hold on `api` (empty: on all): the fittest ticket, the first of them."""
        tickets = [ticket for (name, _), lane in self._lanes.items() if api in {"", name} for ticket in lane]
        return min(tickets, key=lambda ticket: (ticket.unfit, ticket.rank), default=None)

    def ahead(self, urgency: int) -> int:
        """How many tickets of the same or a higher urgency wait already and cannot be overtaken."""
        return sum(
            len(lane)
            for (api, other), lane in self._lanes.items()
            if other <= urgency and api not in self.parked
        )

    def before(self, ticket: Ticket) -> int:
        """How many tickets that are not parked go before `ticket`, wherever it stands."""
        lanes = (lane for (api, _), lane in self._lanes.items() if api not in self.parked)
        return sum(bisect_left(lane, ticket.rank, key=_rank) for lane in lanes)

    def oldest(self) -> float | None:
        """When the longest waiting ticket came."""
        return min((lane[0].arrived for lane in self._lanes.values()), default=None)


def _place(ticket: Ticket) -> tuple[float, int]:
    return ticket.place


def _rank(ticket: Ticket) -> float:
    return ticket.rank
