"""The window against a server that counts strictly, whatever the network does."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.window import CLOCK_DRIFT, Window

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """A caller's wish to send, `gap` seconds after the one before, and what the network does with it:
    seconds out, back, and from the head to the end of the body. What is not `sent` fails after `out`.
    """

    gap: float
    out: float
    back: float
    body: float
    sent: bool = True


@dataclass(slots=True)
class Call:
    wish: Wish
    sent_at: float
    head_at: float = 0.0
    remaining: int = 0


@dataclass(slots=True)
class Server:
    """Counts strictly, in a rolling window or (with a phase) in fixed ones, by a clock of its own speed."""

    limit: int
    phase: float | None = None
    seconds: float = SECONDS
    counted: list[float] = field(default_factory=list)
    refused: int = 0

    def arrive(self, now: float) -> int:
        begin = now - self.seconds
        if self.phase is not None:
            begin = (now - self.phase) // self.seconds * self.seconds + self.phase - 1e-9
        while self.counted and self.counted[0] <= begin:
            self.counted.pop(0)
        if len(self.counted) >= self.limit:
            self.refused += 1
            return 0
        self.counted.append(now)
        return self.limit - len(self.counted)


@dataclass(slots=True)
class Play:
    """Everybody's moves in their order. All send as soon as there is room, and wait no longer than said."""

    window: Window
    server: Server
    learning: bool = True
    others: tuple[float, ...] = ()
    arrivals: list[float] = field(default_factory=list)
    revealed: int = 0
    in_flight: int = 0
    waiting: list[Wish] = field(default_factory=list)
    now: float = 0.0
    _events: list[tuple[float, int, str, object]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)

    def run(self, wishes: list[Wish]) -> None:
        at = 0.0
        for wish in wishes:
            at += wish.gap
            self._later(at, "wish", wish)
        for at in self.others:
            self._later(at, "other", None)
        while self._events:
            self.now, _, what, about = heappop(self._events)
            self._happen(self.now, what, about)
            self._send(self.now)
        assert not self.waiting
        assert self.in_flight == 0

    def _later(self, at: float, what: str, about: object) -> None:
        heappush(self._events, (at, next(self._order), what, about))

    def _happen(self, now: float, what: str, about: object) -> None:
        match what, about:
            case "wish", Wish() as wish:
                self.waiting.append(wish)
            case "other", _:
                self.server.arrive(now)
            case "arrive", Call() as call:
                self.arrivals.append(now)
                call.remaining = self.server.arrive(now)
                self._later(now + call.wish.back, "head", call)
            case "head", Call() as call:
                call.head_at = now
                self._later(now + call.wish.body, "settle", call)
            case "settle", Call() as call:
                self.in_flight -= 1
                if self.learning:
                    self.revealed += self.window.learn(call.sent_at, call.head_at, call.remaining, now)
                self.window.settle(call.head_at)
            case "lost", Call() as call:
                self.in_flight -= 1
                self.window.give_back(call.sent_at)

    def _send(self, now: float) -> None:
        while self.waiting and self.window.free(now) > 0:
            call = Call(self.waiting.pop(0), now)
            self.window.dispatch(now)
            self.in_flight += 1
            self._later(now + call.wish.out, "arrive" if call.wish.sent else "lost", call)
        if self.waiting:
            self._wait(now)

    def _wait(self, now: float) -> None:
        earliest = self.window.earliest(now)
        if earliest is None:
            assert self.in_flight
            return
        assert earliest > now
        assert self.window.free(earliest) > 0
        if not self.others:
            assert self.window.free((now + earliest) / 2) == 0
            assert self.window.free(earliest - 1e-5) == 0
        if not any(what == "wake" and at == earliest for at, _, what, _ in self._events):
            self._later(earliest, "wake", None)

    def most_in_any(self, seconds: float) -> int:
        times = sorted(self.arrivals)
        return max((bisect_left(times, at + seconds) - place for place, at in enumerate(times)), default=0)


latency = st.sampled_from((0.0, 0.001, 0.05, 1.0, 5.0)) | st.floats(0.0, 5.0)
gap = st.sampled_from((0.0, 0.0, 0.0, 0.3, 20.0, 59.0)) | st.floats(0.0, 70.0)


def wishes(*, all_sent: bool = False) -> st.SearchStrategy[list[Wish]]:
    sent = st.just(True) if all_sent else st.booleans()
    return st.lists(st.builds(Wish, gap, latency, latency, latency, sent), min_size=1, max_size=40)


drifts = st.sampled_from((-CLOCK_DRIFT, 0.0, CLOCK_DRIFT)) | st.floats(-CLOCK_DRIFT, CLOCK_DRIFT)
phases = st.none() | st.floats(0.0, SECONDS)
limits = st.integers(1, 6)


@given(wishes(), limits, drifts)
def test_no_window_at_the_server_ever_holds_more_than_the_limit(
    calls: list[Wish], limit: int, drift: float
) -> None:
    """Whatever the latency, and with a server's clock that is as wrong as any."""
    seconds = SECONDS * (1 + drift)
    play = Play(Window(limit, SECONDS), Server(limit, seconds=seconds), learning=False)
    play.run(calls)
    assert play.most_in_any(seconds - 1e-6) <= limit
    assert play.server.refused == 0


@given(wishes(), limits, phases, drifts)
def test_alone_on_the_limit_nobody_else_is_ever_seen_and_nothing_refused(
    calls: list[Wish], limit: int, phase: float | None, drift: float
) -> None:
    """Rolling windows or fixed ones of any phase; the headers are believed as they come, in any order."""
    play = Play(Window(limit, SECONDS), Server(limit, phase, SECONDS * (1 + drift)))
    play.run(calls)
    assert play.revealed == 0
    assert play.server.refused == 0


@given(wishes(), limits, phases, st.lists(st.floats(0.0, 300.0), max_size=20).map(tuple))
def test_beside_others_nobody_waits_in_vain(
    calls: list[Wish], limit: int, phase: float | None, others: tuple[float, ...]
) -> None:
    """`Play` checks each wait: what `earliest` names is possible then."""
    play = Play(Window(limit, SECONDS), Server(limit, phase), others=others)
    play.run(calls)
    assert play.most_in_any(SECONDS) <= limit


@given(wishes(all_sent=True), limits, st.integers(0, 20))
def test_the_forecast_for_one_behind_others_is_never_too_late(
    calls: list[Wish], limit: int, ahead: int
) -> None:
    window = Window(limit, SECONDS)
    play = Play(window, Server(limit), learning=False)
    play.run(calls)
    earliest = window.earliest(play.now, ahead)
    assert earliest is not None
    play.arrivals.clear()
    play.run([Wish(play.now, 0.0, 0.0, 0.0), *[Wish(0.0, 0.0, 0.0, 0.0)] * ahead])
    assert earliest <= play.now + 1e-6
