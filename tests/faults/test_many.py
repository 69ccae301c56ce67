"""A world with millions of organisations and paths: what is kept of them has a bound."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tracemalloc
from collections.abc import Iterator
from random import Random

from prometheus_client import CollectorRegistry, generate_latest

from config.settings import read_settings
from config.values import LogLevel, TenantLabel
from proxy.app import _scheduler
from proxy.clock import Clock
from proxy.core.answers.idempotency import Keys
from proxy.core.limits.accounts import TENANTS_KEPT
from proxy.core.limits.decision import Ask, Permit, Settlement
from proxy.core.line.lines import Ticket
from proxy.core.model import Execution, ResponseClass
from proxy.observe.gauges import Gauges
from proxy.observe.label_names import TENANTS_MAX
from proxy.observe.log import Log
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.observe.telemetry import Record, Telemetry
from proxy.stores import choice
from proxy.waiting.scheduler import Scheduler
from tests.e2e.harness import request
from tests.fakes import run_virtual
from tests.faults.processes import PATIENCE, origin, sidecar
from tests.operators import Scraped

MIB = 1024 * 1024
SUCCESS = ResponseClass("success", Execution.DONE, healthy=True)


@contextlib.contextmanager
def observed(clock: Clock) -> Iterator[tuple[CollectorRegistry, Telemetry, Scheduler]]:
    """Scheduler and telemetry as the sidecar wires them; the log is written only from `error` on."""
    registry, sink = CollectorRegistry(), os.open(os.devnull, os.O_WRONLY)
    log = Log(clock.wall, descriptor=sink, level=LogLevel.ERROR)
    telemetry = Telemetry(registry, log, TenantLabel.ID, "x")
    settings = read_settings({})
    store = choice.store(settings, clock, Random(0), Keys(), StoreTelemetry(registry, log))
    scheduler = _scheduler(settings, store, clock, telemetry)
    gauges = Gauges(scheduler.look, telemetry.tenants, lambda: log.dropped, lambda: 0, 120.0)
    registry.register(Scraped(gauges))
    try:
        yield registry, telemetry, scheduler
    finally:
        scheduler.close()
        log.close(1.0)
        os.close(sink)


def series(rendered: bytes) -> int:
    return sum(not line.startswith(b"#") for line in rendered.splitlines())


def record(telemetry: Telemetry, number: int) -> None:
    one = Record("id", 0.0, "GET", "app", f"tenant-{number}", "accounting", f"/api.xro/2.0/Path{number}")
    one.concluded("success", 200)
    one.bytes_out = 2
    telemetry.request(one, 0.1)


async def test_the_metrics_of_two_million_organisations_and_paths() -> None:
    """The 500 first organisations have series of their own, all others share `other`: the last request
    adds no series and no memory.
    """
    with observed(Clock()) as (registry, telemetry, _):
        for number in range(2_500):  # buffers have their size by then
            record(telemetry, number)
        before = series(generate_latest(registry))
        tracemalloc.start()
        try:
            for number in range(2_500, 5_000):
                record(telemetry, number)
            grown = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        for number in range(5_000, 2_000_000):
            record(telemetry, number)
        assert series(generate_latest(registry)) == before
        assert grown < MIB // 4
        assert len(telemetry.tenants._names) == TENANTS_MAX + 1


def test_the_limits_of_ever_new_organisations() -> None:
    """Who has been idle for longer than the limits look back is forgotten when there are very many, and is
    met again as new.
    """

    async def call_everybody(organisations: int) -> list[tuple[int, int]]:
        clock, seen = Clock(), []
        with observed(clock) as (registry, _, scheduler):
            for number in range(1, organisations + 1):
                ticket = Ticket(Ask("app", f"tenant-{number}", "accounting"), clock.now(), clock.now() + 60)
                assert scheduler.admit(ticket) is None
                permit = await scheduler.acquire(ticket)
                assert isinstance(permit, Permit)
                await scheduler.settle(permit, Settlement(SUCCESS, sent=True, head_at=clock.now()))
                if number % 100 == 0:  # within the minute limit of the app
                    await clock.sleep_until(clock.now() + 1.0)
                if number % (TENANTS_KEPT + TENANTS_KEPT // 4) == 0:
                    seen.append((len(scheduler.snapshot().tenants), series(generate_latest(registry))))
        return seen

    first, last = run_virtual(call_everybody(2 * (TENANTS_KEPT + TENANTS_KEPT // 4)))
    assert first[0] == last[0] <= TENANTS_KEPT
    assert last[1] <= first[1] < 10 * TENANTS_MAX


async def test_thousands_of_organisations_over_sockets() -> None:
    """The same of a running process, by its `/metrics`."""
    async with origin() as xero, sidecar(xero.url) as process, process.caller() as caller:
        counted = []
        for start in range(0, 3000, 1000):
            for number in range(start, start + 1000):
                target = f"GET /api.xro/2.0/Path{number}/x{number}?n={number}".encode()
                caller.writer.write(request(target, f"Xero-Tenant-Id: tenant-{number}".encode()))
                reply = await asyncio.wait_for(caller.reply(), PATIENCE)
                assert reply.status == 200
            counted.append(series(await process.admin("/metrics")))
    assert counted[0] <= counted[1] == counted[2] < 12 * TENANTS_MAX
