"""What a store adds to a request: time until its permit is there and its settlement handed over, and CPU.

Requests come at a fixed rate, to many organisations in turn, whatever became of those before. Each is what
the pipeline does with the scheduler: a permit, an attempt that takes no time, a settlement. The server is on
the loopback address; its operations are counted by the server itself, beats included.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from statistics import quantiles

from prometheus_client import CollectorRegistry

from config.values import LogLevel
from proxy.clock import Clock
from proxy.core.answers.idempotency import Keys
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Permit, Settlement
from proxy.core.limits.holds import HoldTimes
from proxy.core.line.lines import Ticket, Waiting
from proxy.core.model import Execution, Remaining, ResponseClass
from proxy.observe.log import Log
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores import Store
from proxy.stores.memory import MemoryStore
from proxy.stores.redis import RedisStore
from proxy.stores.session import Server as Address
from proxy.stores.sqlite import SqliteStore
from proxy.waiting.scheduler import Scheduler
from tests import servers
from tests.bench import added
from tests.bench.report import table, verdict

RATE, SECONDS, TENANTS = 200.0, 10.0, 50
MOST_OPERATIONS = 2.0
FREE = 1_000_000
CAPS = Caps(minute=FREE, day=FREE, app_minute=FREE)
OK = ResponseClass("success", Execution.DONE, healthy=True)

Open = Callable[[Clock], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def memory(clock: Clock) -> AsyncIterator[Store]:
    """In this process."""
    yield MemoryStore(CAPS, HoldTimes(), clock, Random(0))


def sqlite(path: Path) -> Open:
    """In this process, and in a file."""

    @asynccontextmanager
    async def opened(clock: Clock) -> AsyncIterator[Store]:
        with _telemetry(clock) as telemetry:
            yield SqliteStore(
                CAPS, HoldTimes(), clock, Random(0), path=path, keys=Keys(), telemetry=telemetry
            )

    return opened


def redis(url: str) -> Open:
    """On the server at `url`."""

    @asynccontextmanager
    async def opened(clock: Clock) -> AsyncIterator[Store]:
        address = Address(url, 0.25)
        with _telemetry(clock) as telemetry:
            yield RedisStore(
                address, CAPS, HoldTimes(), clock, Random(), telemetry, prefix="bench", app_id=""
            )

    return opened


@contextmanager
def _telemetry(clock: Clock) -> Iterator[StoreTelemetry]:
    sink = os.open(os.devnull, os.O_WRONLY)
    log = Log(clock.wall, descriptor=sink, level=LogLevel.ERROR)
    try:
        yield StoreTelemetry(CollectorRegistry(), log)
    finally:
        log.close(1.0)
        os.close(sink)


async def measured(opened: Open, seconds: float = SECONDS) -> tuple[list[float], float]:
    """Seconds that each request spent in the store, and seconds of CPU a request, the rate's own included."""
    clock = Clock()
    async with opened(clock) as store:
        scheduler = Scheduler(store, clock, Waiting())
        await store.start(scheduler)
        spent: list[float] = []
        began, cpu = clock.now(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for number in range(int(RATE * seconds)):
                await clock.sleep_until(began + number / RATE)
                group.create_task(_request(scheduler, clock, number, spent))
        cpu = time.process_time() - cpu
        await store.close()
        scheduler.close()
    return spent, cpu / len(spent)


async def _request(scheduler: Scheduler, clock: Clock, number: int, spent: list[float]) -> None:
    began = time.perf_counter()
    ticket = Ticket(Ask("app", f"tenant-{number % TENANTS}", "accounting"), clock.now(), clock.now() + 60.0)
    permit = scheduler.take(ticket) or await scheduler.acquire(ticket)
    if not isinstance(permit, Permit):
        raise TypeError("there is room for every call")
    own, all_ = FREE - number // TENANTS - 1, FREE - number - 1
    await scheduler.settle(permit, Settlement(OK, True, clock.now(), Remaining(own, own, all_)))
    spent.append(time.perf_counter() - began)


def report() -> None:
    """Measure every store that this machine can run, and print it."""
    print(
        "## Stores\n\n### In the store alone\n\n"
        f"Milliseconds that a request spends in the store at {RATE:.0f} requests a second, {SECONDS:.0f} s,\n"
        f"{TENANTS} organisations; CPU is of the sidecar's part, asyncio and the load itself included.\n"
    )
    rows, holds = [_row("memory", *asyncio.run(measured(memory)), 0.0)], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows.append(_row("SQLite", *asyncio.run(measured(sqlite(folder / "state.db"))), 0.0))
        for name, binary in servers.installed().items():
            server = stack.enter_context(servers.server(binary))
            spent, cpu = asyncio.run(measured(redis(server.url)))
            stats = server.do("INFO", "commandstats")
            calls = sum(stats.get(f"cmdstat_{each}", {}).get("calls", 0) for each in ("eval", "evalsha"))
            operations = calls / len(spent)
            about = server.do("INFO", "server")
            version = about.get(f"{name.lower()}_version", about["redis_version"])
            rows.append(_row(f"{name} {version}", spent, cpu, operations))
            holds.append((name, operations))
    print(table(("", "p50, ms", "p99, ms", "CPU, µs a request", "operations a request"), rows), end="\n\n")
    for name, operations in holds:
        text = f"{name} takes at most {MOST_OPERATIONS:.0f} operations a request (is {operations:.2f})"
        print(verdict(text, holds=round(operations, 2) <= MOST_OPERATIONS))
    print(flush=True)
    added.report()


def _row(name: str, spent: list[float], cpu: float, operations: float) -> tuple[str, ...]:
    cuts = quantiles(spent, n=100)
    return name, f"{cuts[49] * 1000:.2f}", f"{cuts[98] * 1000:.2f}", f"{cpu * 1e6:.0f}", f"{operations:.2f}"
