"""Replicas that share limits, in virtual time: each with a line of its own, a way to the server and calls."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Permit, Settlement
from proxy.core.limits.holds import HoldTimes
from proxy.core.limits.sharing import POLL_SECONDS, SharedLimits
from proxy.core.model import Remaining
from tests.core.permits import OK

ASK = Ask("app", "t1", "accounting")


@dataclass(slots=True)
class Replica:
    """One replica's line for one organisation: of the `waiting` calls the first asks as soon as it may.

    `deaf` replicas never come back when they are expected: they hear nothing and only poll.
    """

    name: str
    waiting: int
    ask: Ask = ASK
    deaf: bool = False
    asking: bool = False
    back_at: float = 0.0
    sent: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Cluster:
    """`replicas` before one `SharedLimits`, before an upstream that counts strictly in any minute.

    A way to the server takes up to `network` seconds, a call upstream between the two of `latency`.
    """

    caps: Caps
    replicas: list[Replica]
    random: Random
    network: float = 0.002
    latency: tuple[float, float] = (0.05, 0.3)
    now: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    in_progress: int = 0
    most_in_progress: int = 0
    asked: int = 0
    shared: SharedLimits = field(init=False)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _lines: dict[Ask, list[Replica]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shared = SharedLimits(self.caps, HoldTimes())
        for replica in self.replicas:
            self.expect(replica, self.random.uniform(0, 0.01))

    def expect(self, replica: Replica, at: float) -> None:
        """A line begins to ask at `at`."""
        self._lines.setdefault(replica.ask, []).append(replica)
        self._later(at - self.now, partial(self._ask, replica))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heappop(self._events)
            event()

    def most_in_any(self, seconds: float) -> int:
        times = sorted(self.arrivals)
        return max(bisect_left(times, at + seconds) - place for place, at in enumerate(times))

    def shares(self, begin: float, end: float) -> list[float]:
        """Of the calls sent in [begin, end), the part of each replica."""
        sent = [sum(begin <= at < end for at in replica.sent) for replica in self.replicas]
        return [calls / sum(sent) for calls in sent]

    def _later(self, seconds: float, event: Callable[[], None]) -> None:
        heappush(self._events, (self.now + seconds, next(self._order), event))

    def _travel(self, event: Callable[[], None]) -> None:
        self._later(self.random.uniform(0.0001, self.network), event)

    def _ask(self, replica: Replica) -> None:
        if replica.asking or not replica.waiting:
            return
        replica.asking = True
        self._travel(lambda: self._decide(replica))

    def _decide(self, replica: Replica) -> None:
        self.asked += 1
        decision = self.shared.acquire(
            replica.name, self.asked, replica.ask, self.now, more=replica.waiting > 1
        )
        number = self.asked
        self._travel(lambda: self._told(replica, number, decision))

    def _told(self, replica: Replica, number: int, decision: Permit | Denial) -> None:
        replica.asking = False
        if isinstance(decision, Denial):
            self._wait(replica, decision)
            return
        replica.waiting -= 1
        replica.sent.append(self.now)
        there = self.random.uniform(*self.latency)
        self._later(there * self.random.random(), self._arrive)
        self._later(there, lambda: self._head(replica, number, decision))
        if decision.following is None:
            self._ask(replica)
        else:
            self._wait(replica, decision.following)

    def _wait(self, replica: Replica, denial: Denial) -> None:
        poll = POLL_SECONDS * self.random.uniform(0.5, 1)
        seconds = poll if denial.until is None or replica.deaf else denial.until - self.now
        replica.back_at = at = self.now + max(0.0, seconds)
        self._later(at - self.now, lambda: self._ask(replica) if replica.back_at == at else None)

    def _arrive(self) -> None:
        self.arrivals.append(self.now)
        self.in_progress += 1
        self.most_in_progress = max(self.most_in_progress, self.in_progress)

    def _head(self, replica: Replica, number: int, permit: Permit) -> None:
        self.in_progress -= 1
        age = self.now
        self._travel(lambda: self._settle(replica, number, permit, age))

    def _settle(self, replica: Replica, number: int, permit: Permit, head_at: float) -> None:
        settlement = Settlement(OK, sent=True, head_at=head_at, remaining=Remaining())
        contenders = self.shared._contenders[replica.ask.app, str(replica.ask.tenant)]
        before = contenders.freed_at
        self.shared.settle(replica.name, number, permit, settlement, self.now, 0.5)
        if contenders.freed_at != before:
            for other in self._lines[replica.ask]:
                if other.waiting and not other.deaf:
                    self._travel(partial(self._ask, other))
        self._travel(lambda: self._ask(replica))
