"""Cost of deciding: CPU of one request in the lines and limits, without any I/O.

The lines are full before the measurement begins, and whoever has been served is followed by the next one in
the same line, so every request stands in the whole crowd. A request costs: its forecast and its place in
line (enqueue), its turn and its permit (grant), and the settlement of its attempt with what a simulated
server says is left (settle). The garbage collector runs with the sidecar's settings.

The same through the scheduler adds what asyncio takes for a caller that waits: its task, its future and its
wake-up. Time is virtual there, so that what is counted (`time.process_time`) is work and never waiting.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from random import Random
from statistics import median

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Limits, Permit, Settlement
from proxy.core.limits.holds import HoldTimes
from proxy.core.line.lines import Ticket, Waiting
from proxy.core.line.turns import Turns
from proxy.core.model import Execution, Remaining, ResponseClass
from proxy.process import THRESHOLDS
from proxy.simulator.windows import Rolling
from proxy.stores.memory import MemoryStore
from proxy.waiting.scheduler import Scheduler
from tests.bench.report import table, verdict
from tests.fakes import run_virtual

MEASURED, REPEATS = 100_000, 3
LATENCY_SECONDS, PATIENCE_SECONDS = 0.2, 36_000.0
MOST_MICROSECONDS, MOST_GROWTH = 20.0, 2.0
OK = ResponseClass("success", Execution.DONE, healthy=True)
FREE = 1_000_000
CAPS = Caps(day=FREE, app_minute=FREE)


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many organisations of one app, and so many requests waiting in the line of each."""

    tenants: int
    in_line: int

    def __str__(self) -> str:
        return f"{self.tenants * self.in_line:,} waiting"

    def asks(self) -> list[Ask]:
        """Whose limits they use."""
        return [Ask("app", f"tenant-{number}", "accounting") for number in range(self.tenants)]


FEW, MANY = Crowd(1_000, 1), Crowd(10_000, 10)


def decided(crowd: Crowd, measured: int = MEASURED) -> float:
    """Microseconds of one request in lines, turns and limits."""
    limits, asks = Limits(CAPS, HoldTimes()), crowd.asks()
    turns = Turns(lambda _ticket: None, lambda _when, _what: None)
    for ask in asks * crowd.in_line:
        turns.join(turns.place(ask), Ticket(ask, 0.0, PATIENCE_SECONDS))
    times = [2.0 * number / crowd.tenants for number in range(crowd.tenants + measured)]
    heard = _heard(crowd, times)
    began = 0.0
    for number, now in enumerate(times):
        if number == crowd.tenants:  # everybody has had a turn: a steady state
            began = time.process_time()
        ask = asks[number % crowd.tenants]
        place = turns.place(ask)
        limits.forecast(ask, place.line.ahead(3), now)
        turns.join(place, Ticket(ask, now, now + PATIENCE_SECONDS))
        permit, head = limits.acquire(ask, now), place.asking
        if not isinstance(permit, Permit) or head is None:
            raise TypeError("there is room for every call")
        turns.granted(place, head, permit)
        settlement = Settlement(OK, True, now + LATENCY_SECONDS, heard[number])
        effects = limits.settle(permit, settlement, now + LATENCY_SECONDS, 0.5)
        turns.settled(ask, effects.holds)
    return (time.process_time() - began) / measured * 1e6


def _heard(crowd: Crowd, times: list[float]) -> list[Remaining]:
    """What the server says to each call."""
    windows = [Rolling(CAPS.minute, CAPS.minute_seconds) for _ in range(crowd.tenants)]
    heard = []
    for number, now in enumerate(times):
        window = windows[number % crowd.tenants]
        window.take(now)
        heard.append(Remaining(window.remaining(now), FREE - number, FREE - number))
    return heard


def scheduled(crowd: Crowd, measured: int = MEASURED) -> float:
    """Microseconds of one request through the scheduler, its task and its wake-ups included."""
    return run_virtual(_scheduled(crowd, measured))


async def _scheduled(crowd: Crowd, measured: int) -> float:
    clock = Clock()
    caps = Caps(minute=FREE, day=FREE, app_minute=FREE)
    store = MemoryStore(caps, HoldTimes(), clock, Random(0))
    scheduler = Scheduler(store, clock, Waiting(FREE, FREE))
    rounds = max(1, measured // (crowd.tenants * crowd.in_line))

    async def caller(ask: Ask) -> None:
        for _ in range(rounds):
            ticket = Ticket(ask, clock.now(), clock.now() + PATIENCE_SECONDS)
            if scheduler.admit(ticket) is not None:
                raise RuntimeError("there is room in line")
            permit = await scheduler.acquire(ticket)
            if not isinstance(permit, Permit):
                raise TypeError("there is time to wait")
            await clock.sleep_until(clock.now() + LATENCY_SECONDS)
            await scheduler.settle(permit, Settlement(OK, True, clock.now()))

    began = time.process_time()
    await asyncio.gather(*map(caller, crowd.asks() * crowd.in_line))
    scheduler.close()
    return (time.process_time() - began) / (rounds * crowd.tenants * crowd.in_line) * 1e6


def report() -> None:
    """Run everything and print it."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        deciding = [median(decided(crowd) for _ in range(REPEATS)) for crowd in (FEW, MANY)]
        waking = [scheduled(crowd) for crowd in (FEW, MANY)]
    finally:
        gc.set_threshold(*before)
    print(
        "## Cost of deciding\n\n"
        f"Microseconds of CPU a request with {FEW} ({FEW.tenants:,} organisations) and with {MANY}\n"
        f"({MANY.tenants:,}), {MEASURED:,} requests; growth is the second over the first.\n\n"
        "- deciding: enqueue + grant + settle in lines, turns and limits.\n"
        "- with asyncio: the same through the scheduler, with the task, future and wake-ups of a caller\n"
        "  that waits twice (for its turn, and for its answer).\n"
    )
    rows = [_row("deciding", *deciding), _row("with asyncio", *waking)]
    print(table(("", str(FEW), str(MANY), "growth"), rows), end="\n\n")
    most, growth = max(deciding), deciding[1] / deciding[0]
    text = f"deciding at most {MOST_MICROSECONDS:.0f} µs (is {most:.1f})"
    print(verdict(text, holds=most <= MOST_MICROSECONDS))
    print(verdict(f"growth below {MOST_GROWTH:.0f} (is {growth:.2f})", holds=growth < MOST_GROWTH))


def _row(name: str, few: float, many: float) -> tuple[str, ...]:
    return name, f"{few:.1f}", f"{many:.1f}", f"{many / few:.2f}"
