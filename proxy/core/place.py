"""Where a line of waiting requests stands: what it waits for, and on whose behalf it asks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from enum import Enum

from proxy.core.lines import Line, Ticket
from proxy.core.model import HoldKey, TenantView


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
