"""Cost of deciding: CPU of one request in the real scheduler over the real limits, without any I/O.

Every request is admitted, waits in line, is granted a permit and settles it with the headers of a
simulated server, from which the limits learn as in production. The measurement is taken in a steady
state: the lines are full before it begins, and a caller whose request is done joins the same line with
the next one, so the crowd stays as large as it is; it has changed whole once before anything is counted.
Time is virtual, so that what is counted (`time.process_time`) is work and never waiting. The garbage
collector runs as it does by default.

What the callers and the server cost here is measured apart, with the same calls and nothing that decides,
and taken off: the rest is enqueue + grant + settle, the wake-up of the waiting task included.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random

from proxy.clock import Clock
from proxy.core.holds import HoldTimes
from proxy.core.limits import Ask, Caps, Limits, Permit, Settlement
from proxy.core.lines import Ticket
from proxy.core.model import Execution, Remaining, ResponseClass
from proxy.scheduler import Scheduler, Waiting
from proxy.simulator.windows import Rolling
from proxy.stores.memory import MemoryStore
from tests.bench.report import table, verdict
from tests.fakes import run_virtual

MEASURED = 30_000
LATENCY = (0.05, 0.3)
PATIENCE_SECONDS = 3600.0
MOST_MICROSECONDS, MOST_GROWTH = 20.0, 2.0
OK = ResponseClass("success", Execution.DONE, healthy=True)
FREE = 1_000_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many organisations of one app, and so many requests waiting in the line of each."""

    tenants: int
    in_line: int

    def __str__(self) -> str:
        return f"{self.tenants * self.in_line:,} waiting"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What the lines wait for: Xero's own limits, but for those that would bind before it. `in_flight`
    is how many of one organisation's are then under way at a time.
    """

    name: str
    caps: Caps
    in_flight: int


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one request in microseconds; `collector` is the garbage collector's part of it."""

    all: float
    collector: float


FEW, MANY = Crowd(1_000, 1), Crowd(10_000, 10)
BOTTLENECKS = (
    Bottleneck("concurrent", Caps(minute=FREE, day=FREE, app_minute=FREE), 5),
    Bottleneck("minute", Caps(day=FREE, app_minute=FREE), 0),
    Bottleneck("app minute", Caps(day=FREE), 0),
)


class Server:
    """Counts what arrives, strictly, and says what is left."""

    def __init__(self, caps: Caps, tenants: int) -> None:
        self._day = caps.day
        self._app = Rolling(caps.app_minute, caps.minute_seconds)
        self._tenants = [Rolling(caps.minute, caps.minute_seconds) for _ in range(tenants)]

    def take(self, tenant: int, now: float) -> Remaining:
        """Count a call. Raises RuntimeError where a limit is passed."""
        window = self._tenants[tenant]
        if not (window.take(now) and self._app.take(now)):
            raise RuntimeError("a limit was passed")
        self._day -= 1
        return Remaining(
            window.limit - len(window._calls), self._day, self._app.limit - len(self._app._calls)
        )


class Meter:
    """CPU time per request, and how much of it the garbage collector took. Used once."""

    def __init__(self, warm_up: int, measured: int) -> None:
        self.enough = asyncio.Event()
        self._count = -warm_up
        self._measured = measured
        self._began = self._collected = self._collecting = 0.0

    def tick(self) -> None:
        """One request is done."""
        self._count += 1
        if self._count == 0:
            gc.callbacks.append(self._collection)
            self._began = time.process_time()
        elif self._count == self._measured:
            self._began = time.process_time() - self._began
            gc.callbacks.remove(self._collection)
            self.enough.set()

    @property
    def cost(self) -> Cost:
        """What a request took on average, once there were enough."""
        scale = 1e6 / self._measured
        return Cost(self._began * scale, self._collected * scale)

    def _collection(self, phase: str, _info: dict[str, int]) -> None:
        now = time.process_time()
        if phase == "start":
            self._collecting = now
        else:
            self._collected += now - self._collecting


def crowded(crowd: Crowd, bottleneck: Bottleneck, measured: int = MEASURED) -> Cost:
    """One request in the crowd, what callers and server cost included."""
    return run_virtual(_crowded(crowd, bottleneck, measured))


def undecided(crowd: Crowd, measured: int = MEASURED) -> Cost:
    """What callers and server cost alone."""
    return run_virtual(_undecided(crowd, measured))


def core_microseconds(crowd: Crowd, measured: int = MEASURED) -> float:
    """One forecast, acquire and settle of the pure core, one organisation after the other, nobody denied."""
    caps = Caps(day=FREE, app_minute=FREE)
    limits, server = Limits(caps, HoldTimes()), Server(caps, crowd.tenants)
    asks = [_ask(tenant) for tenant in range(crowd.tenants)]
    times = [number * 2.0 / crowd.tenants for number in range(measured)]  # each has a call every two seconds
    settlements = [
        Settlement(OK, sent=True, head_at=now, remaining=server.take(number % crowd.tenants, now))
        for number, now in enumerate(times)
    ]
    began = time.process_time()
    for number, now in enumerate(times):
        ask = asks[number % crowd.tenants]
        limits.forecast(ask, 0, now)
        permit = limits.acquire(ask, now)
        if not isinstance(permit, Permit):
            raise TypeError("there is room for every call")
        limits.settle(permit, settlements[number], now, 0.5)
    return (time.process_time() - began) / measured * 1e6


async def _crowded(crowd: Crowd, bottleneck: Bottleneck, measured: int) -> Cost:
    clock, random = Clock(), Random(0)
    store = MemoryStore(bottleneck.caps, HoldTimes(), clock, random)
    scheduler = Scheduler(store, clock, Waiting(FREE, FREE))
    server = Server(bottleneck.caps, crowd.tenants)
    population = crowd.tenants * (crowd.in_line + bottleneck.in_flight)
    meter = Meter(population, measured)

    async def caller(tenant: int) -> None:
        ask = _ask(tenant)
        while True:
            now = clock.now()
            ticket = Ticket(ask, now, now + PATIENCE_SECONDS)
            if scheduler.admit(ticket) is not None:
                raise RuntimeError("there is room in line")
            permit = await scheduler.acquire(ticket)
            if not isinstance(permit, Permit):
                raise TypeError("there is time to wait")
            remaining = server.take(tenant, clock.now())
            await clock.sleep_until(clock.now() + random.uniform(*LATENCY))
            await scheduler.settle(permit, Settlement(OK, True, clock.now(), remaining))
            meter.tick()

    if bottleneck.caps.minute < FREE and bottleneck.caps.app_minute == FREE:
        await _use_up(store, server, crowd, bottleneck.caps, clock)
    try:
        return await _measure(meter, caller, crowd, population)
    finally:
        scheduler.close()


async def _undecided(crowd: Crowd, measured: int) -> Cost:
    clock, random = Clock(), Random(0)
    server = Server(Caps(minute=FREE, day=FREE, app_minute=FREE), crowd.tenants)
    meter = Meter(crowd.tenants, measured)

    async def caller(tenant: int) -> None:
        while True:
            remaining = server.take(tenant, clock.now())
            await clock.sleep_until(clock.now() + random.uniform(*LATENCY))
            Settlement(OK, True, clock.now(), remaining)
            meter.tick()

    return await _measure(meter, caller, crowd, crowd.tenants)


async def _measure(
    meter: Meter, caller: Callable[[int], Coroutine[None, None, None]], crowd: Crowd, population: int
) -> Cost:
    callers = [asyncio.ensure_future(caller(number % crowd.tenants)) for number in range(population)]
    enough = asyncio.ensure_future(_enough(meter))
    done, _ = await asyncio.wait({enough, *callers}, return_when=asyncio.FIRST_COMPLETED)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    for task in done:
        task.result()
    return meter.cost


async def _enough(meter: Meter) -> None:
    await meter.enough.wait()


async def _use_up(store: MemoryStore, server: Server, crowd: Crowd, caps: Caps, clock: Clock) -> None:
    """Spend every organisation's minute, evenly, so that one place becomes free a second."""
    for _ in range(caps.minute):
        for tenant in range(crowd.tenants):
            permit = await store.acquire(_ask(tenant))
            if not isinstance(permit, Permit):
                raise TypeError("there is room in the minute")
            remaining = server.take(tenant, clock.now())
            await store.settle(permit, Settlement(OK, True, clock.now(), remaining))
        await clock.sleep_until(clock.now() + caps.minute_seconds / caps.minute)


def _ask(tenant: int) -> Ask:
    return Ask("app", f"tenant-{tenant}", "accounting")


def report() -> None:
    """Run everything and print it."""
    print(
        "## Cost of deciding\n\n"
        f"Microseconds of CPU a request, {MEASURED:,} requests in a steady state of {FEW}\n"
        f"({FEW.tenants:,} organisations) and of {MANY} ({MANY.tenants:,}); growth is the second over the "
        "first.\n\n"
        "- net: enqueue + grant + settle, the wake-up of the task and the garbage collector included.\n"
        "- callers and server: what the measurement itself costs, without a scheduler; already taken off.\n"
        "- the pure core: one forecast, acquire and settle that find room, without lines or tasks.\n"
    )
    apart = [undecided(crowd).all for crowd in (FEW, MANY)]
    core = [core_microseconds(crowd) for crowd in (FEW, MANY)]
    costs = {kind.name: [crowded(crowd, kind) for crowd in (FEW, MANY)] for kind in BOTTLENECKS}
    net = {
        name: [cost.all - off for cost, off in zip(pair, apart, strict=True)] for name, pair in costs.items()
    }
    rows = [_row(f"net, waiting for the {name} limit", *pair) for name, pair in net.items()]
    rows += [
        _row(f"  of it garbage collector, {name}", *(cost.collector for cost in pair))
        for name, pair in costs.items()
    ]
    rows += [_row("callers and server", *apart), _row("the pure core", *core)]
    print(table(("", str(FEW), str(MANY), "growth"), rows), end="\n\n")
    most = max(max(pair) for pair in net.values())
    growth = max(many / few for few, many in net.values())
    print(verdict(f"net at most {MOST_MICROSECONDS:.0f} µs (is {most:.1f})", holds=most <= MOST_MICROSECONDS))
    print(verdict(f"growth below {MOST_GROWTH:.0f} (is {growth:.2f})", holds=growth < MOST_GROWTH))


def _row(name: str, few: float, many: float) -> tuple[str, ...]:
    return name, f"{few:.1f}", f"{many:.1f}", f"{many / few:.2f}" if few > 0.05 else "–"
