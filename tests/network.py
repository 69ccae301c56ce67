"""The simulator's core behind a network that delays, refuses and cuts, for a pipeline without sockets."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from random import Random

from proxy.clock import Clock
from proxy.core.model import Failure
from proxy.core.wire.fields import Fields
from proxy.http.response import Response
from proxy.http.upstream import Outbound
from proxy.simulator.answers import SimRequest
from proxy.simulator.calls import Begun
from proxy.simulator.faults import Fate
from proxy.simulator.options import Options
from proxy.simulator.windows import WindowKind
from proxy.simulator.xero import Xero
from tests.inprocess import response, streamed

HANGS = 300.0
SLOW_BODY = 7.0
Whose = tuple[bytes, bytes]
"""Authorization and tenant: whose limits a call spends."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Limits, windows and the network. Seconds; `large` is the share of answers that stream.

    The simulator's clock is ours plus `offset`, and gains `drift` on it.
    """

    minute: int = 60
    concurrent: int = 5
    app_minute: int = 10_000
    windows: WindowKind = WindowKind.ROLLING
    latency: float = 0.3
    jitter: float = 0.0
    large: float = 0.0
    offset: float = 0.0
    drift: float = 0.0


@dataclass(slots=True)
class Sent:
    """One attempt as the proxy made it: from `began` to `ended` on our clock."""

    began: float
    ended: float


class Network:
    """Takes attempts to the simulator, and keeps evidence of its own of what arrived there."""

    def __init__(self, clock: Clock, shape: Shape, seed: int) -> None:
        options = Options(
            minute_limit=shape.minute,
            concurrent_limit=shape.concurrent,
            app_minute_limit=shape.app_minute,
            windows=shape.windows,
            latency=(0.0, shape.latency),
            jitter=shape.jitter,
        )
        self.clock = clock
        self.xero = Xero(options, Random(seed))
        self.refusing_until = 0.0
        self.sent: dict[bytes, list[Sent]] = defaultdict(list)
        self.arrivals: dict[Whose, list[float]] = defaultdict(list)
        self.peaks: Counter[Whose] = Counter()
        self._in_progress: Counter[Whose] = Counter()
        self._shape = shape
        self._random = Random(seed + 1)
        self._rate = 1.0 + shape.drift
        self._drains: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """The simulator's time."""
        return self.clock.now() * self._rate + self._shape.offset

    async def send(self, outbound: Outbound) -> Response | Failure:
        began = self.clock.now()
        attempt = Sent(began, began)
        self.sent[outbound.target].append(attempt)
        try:
            if began < self.refusing_until:
                await self._pass(self._jitter())
                return Failure("connect_failed", sent=False, error="connection_refused", detail="refused")
            return await self._exchange(outbound)
        finally:
            attempt.ended = self.clock.now()

    async def silence(self) -> None:
        """Wait until nothing is on its way."""
        while self._drains:
            await asyncio.wait(self._drains)

    def most_in_a_minute(self, whose: Whose) -> int:
        """Most arrivals in any rolling 60 s of the simulator's clock."""
        times, first, most = self.arrivals[whose], 0, 0
        for last, now in enumerate(times):
            while times[first] + 60.0 <= now:
                first += 1
            most = max(most, last + 1 - first)
        return most

    async def _exchange(self, outbound: Outbound) -> Response | Failure:
        body = bytes(outbound.body.in_memory or b"") if outbound.body else b""
        await self._pass(self.xero.transit())
        request = SimRequest(outbound.method, outbound.target.decode(), outbound.headers, body or b"")
        whose = _whose(outbound)
        self.arrivals[whose].append(self.now())
        self._in_progress[whose] += 1
        self.peaks[whose] = max(self.peaks[whose], self._in_progress[whose])
        begun = self.xero.arrive(request, self.now())
        if begun.fate is Fate.ANSWERED and self._random.random() < self._shape.large:
            return self._large(begun, whose)
        await self._pass((begun.done_at - self.now()) / self._rate)
        if begun.fate is Fate.HUNG:
            await self._pass(HANGS)
        head = self.clock.now() + self._jitter()
        if begun.fate is Fate.SLOW:
            await self._pass(SLOW_BODY)
        self._finish(begun, whose)
        await self._pass(head - self.clock.now())
        return self._outcome(begun, head)

    def _outcome(self, begun: Begun, head: float) -> Response | Failure:
        name = {
            Fate.TRUNCATED: "upstream_truncated",
            Fate.GARBAGE: "upstream_garbage",
            Fate.RESET: "upstream_reset",
            Fate.HUNG: "upstream_reset",
        }.get(begun.fate)
        if name is not None:
            return Failure(name, sent=True, error="connection_terminated", detail="It broke.")
        whole = response(self.clock, begun.answer.status, begun.answer.headers, begun.answer.body)
        whole.head_at = min(head, whole.head_at)
        return whole

    def _large(self, begun: Begun, whose: Whose) -> Response:
        """The first bytes are here; the call occupies Xero until the last piece has left, come what may."""
        answer = begun.answer
        head, inflow = streamed(self.clock, answer.body, answer.status, answer.headers)

        async def drain() -> None:
            half = (begun.done_at - self.now()) / self._rate / 2
            await self._pass(half)
            inflow.put(b"a piece")
            await self._pass(half)
            self._finish(begun, whose)
            await self._pass(self._jitter())
            inflow.put(b"the rest")
            inflow.end()

        task = asyncio.ensure_future(drain())
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)
        return head

    def _finish(self, begun: Begun, whose: Whose) -> None:
        self.xero.finish(begun, self.now())
        self._in_progress[whose] -= 1

    def _jitter(self) -> float:
        return self._random.uniform(0.0, self._shape.jitter)

    async def _pass(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + max(0.0, seconds))


def _whose(outbound: Outbound) -> Whose:
    app = Fields(outbound.headers).get(b"authorization") or b""
    if outbound.target.lower().startswith(b"/connections"):
        return app, b"(no tenant)"
    return app, Fields(outbound.headers).get(b"xero-tenant-id") or b""
