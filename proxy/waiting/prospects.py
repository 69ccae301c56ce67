"""Whether a request can still run in time, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proxy.clock import Clock
from proxy.core.limits.decision import Ask, Forecast
from proxy.core.line.lines import Ticket
from proxy.core.line.refusal import Refusal, Why
from proxy.core.line.turns import Place
from proxy.stores import Store


class Prospects:
    """What `store` foresees, against deadlines. `drain_until` is where a drain ends all of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.drain_until: float | None = None

    def cap(self, ticket: Ticket) -> None:
        """Let it wait no longer than the drain."""
        if self.drain_until is not None:
            ticket.deadline = min(ticket.deadline, self.drain_until)

    def over(self, ticket: Ticket) -> bool:
        """Whether it may not be sent any more."""
        return self._clock.now() > max(ticket.deadline, ticket.prompt_until)

    def expired(self, place: Place, ticket: Ticket) -> Refusal:
        """Its time is up."""
        forecast = self._store.forecast(ticket.ask, place.line.before(ticket))
        return Refusal.of(self._why(Why.DEADLINE), forecast, place.blocked_by)

    def on_arrival(self, place: Place, ticket: Ticket, *, full: bool) -> Refusal | None:
        """Why it need not stand in line; `full` where there is no room."""
        self.cap(ticket)
        forecast = self._store.forecast(ticket.ask, place.line.ahead(ticket.urgency))
        if full:
            return Refusal.of(Why.QUEUE_FULL, forecast, place.blocked_by)
        if self.over(ticket):
            return self.expired(place, ticket)
        return self._unless_now(place, ticket, forecast)

    def in_line(self, place: Place, ticket: Ticket, ahead: int = 0) -> Refusal | None:
        """Why it need not stand there any longer, with so many ahead of it."""
        return self._unless_now(place, ticket, self._store.forecast(ticket.ask, ahead))

    def too_late(self, ticket: Ticket, forecast: Forecast, otherwise: str = "") -> Refusal | None:
        """Why it need not wait for what a forecast says, where that comes after its deadline."""
        if forecast.at <= ticket.deadline:
            return None
        return Refusal.of(self._why(Why.HOPELESS), forecast, otherwise)

    def hopeless(self, tickets: Iterable[Ticket], told: Forecast) -> Iterator[tuple[Ticket, Refusal]]:
        """Those of `tickets` that cannot outwait what they are `told`, or what it hides, and why."""
        stops: dict[Ask, Forecast] = {}
        for ticket in tickets:
            stop = stops.get(ticket.ask) or stops.setdefault(ticket.ask, self.told(ticket.ask, told))
            if refusal := self.too_late(ticket, stop):
                yield ticket, refusal

    def told(self, ask: Ask, told: Forecast) -> Forecast:
        """What stops a request longest where it was `told` what does."""
        forecast = self._store.forecast(ask, 0)
        return forecast if forecast.at > told.at else told

    def _unless_now(self, place: Place, ticket: Ticket, forecast: Forecast) -> Refusal | None:
        """Whoever can go now need not wait, even where the deadline passed on the way here."""
        now = forecast.at <= self._clock.now()
        return None if now else self.too_late(ticket, forecast, place.blocked_by)

    def _why(self, why: Why) -> Why:
        return why if self.drain_until is None else Why.DRAINING
