"""One soak: starts everything, sends at the rate, makes faults, watches, and adds up."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from proxy.clock import Clock
from proxy.simulator.faults import FaultKind
from tests.soak.account import Account
from tests.soak.callers import TENANTS, Callers, Planned, planned, upload
from tests.soak.machines import Machine, ask, sidecar, simulator

FAULTS = 0.01
"""Calls that fail, as a share of all."""
COMMON = (
    FaultKind.LOST_REPLY,
    FaultKind.RESET_BEFORE,
    FaultKind.TRUNCATE,
    FaultKind.GARBAGE,
    FaultKind.INTERNAL_ERROR,
    FaultKind.BAD_GATEWAY,
    FaultKind.EDGE_UNAVAILABLE,
    FaultKind.GATEWAY_TIMEOUT,
)
RARE = (FaultKind.HANG, FaultKind.SLOW_BODY)
WORST_SECONDS = 3.0
"""The outage at the beginning, longer than any later one: as many requests wait at once as never again, so
that memory grows afterwards by nothing but what is not given back.
"""
REST_SECONDS = 40.0
"""Longest wait for everything to be given back after the load."""


@dataclass(slots=True)
class Soak:
    """What came of it: how long was sent, memory as (seconds, MiB), open files before and after, processor
    seconds of the sidecar.
    """

    seconds: float = 0.0
    account: Account = field(default_factory=Account)
    memory: list[tuple[float, float]] = field(default_factory=list)
    files: tuple[int, int] = (0, 0)
    unended: int = 0
    """Requests still in the sidecar when all callers were done."""
    seen: int = 0
    """The last entry of the ledger that was read."""
    cpu: float = 0.0
    others: tuple[float, float] = (0.0, 0.0)
    """Processor seconds of the load and of the simulator."""


async def soak(seconds: float, rate: float, seed: int = 0) -> Soak:
    """Send `rate` requests a second for so long, then wait until everything is given back."""
    found, clock = Soak(), Clock()
    with tempfile.TemporaryDirectory(prefix="xero-proxy-soak-") as name:
        folder = Path(name)
        async with simulator(folder) as xero, sidecar(folder, xero.url) as car:
            fresh = car.files()
            callers = Callers(int(car.url.rpartition(":")[2]), found.account, clock)
            own = sum(os.times()[:2])
            await _under_load(callers, xero, car, found, seconds, rate, seed)
            found.cpu, found.others = car.cpu(), (sum(os.times()[:2]) - own, xero.cpu())
            callers.close()
            found.unended = await _ended(car, clock)
            await _read_ledger(xero, found)
            await xero.stop()  # which ends the connections that the sidecar keeps
            found.files = fresh, await _files(car, fresh, clock)
    return found


async def _under_load(
    callers: Callers, xero: Machine, car: Machine, found: Soak, seconds: float, rate: float, seed: int
) -> None:
    clock = Clock()
    for tenant in range(TENANTS):
        await callers.send(Planned("", upload(tenant), slow=True))
    watchers = [
        asyncio.create_task(_trouble(xero, rate, clock, Random(seed))),
        asyncio.create_task(_watch(xero, car, found, clock)),
    ]
    try:
        found.seconds = await _load(callers, seconds, rate, clock, Random(seed + 1))
    finally:
        for watcher in watchers:
            watcher.cancel()
        ended = await asyncio.gather(*watchers, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError) and isinstance(error, BaseException):
            raise error


async def _load(callers: Callers, seconds: float, rate: float, clock: Clock, random: Random) -> float:
    """Each request at its time, whatever became of the others, and all their ends. How long sending took."""
    began = clock.now()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * rate)):
            due = began + number / rate
            if due > clock.now():
                await clock.sleep_until(due)
            elif number % 100 == 0:
                await clock.sleep_until(clock.now())
            group.create_task(callers.send(planned(number, random)))
        return clock.now() - began


async def _trouble(xero: Machine, rate: float, clock: Clock, random: Random) -> None:
    """A share of the calls fail, and now and then an organisation or everybody is away for a moment; at first
    everybody for long.
    """
    await ask(xero.url, "/_simulator/faults", {"unavailable": WORST_SECONDS})
    await clock.sleep_until(clock.now() + WORST_SECONDS)
    for second in count(1):
        # A failure waits for its call: bound to an organisation, and dropped after a second, so that where
        # only a probe is sent it does not meet all that nobody else came for.
        await ask(xero.url, "/_simulator/faults", method="DELETE")
        for _ in range(max(1, int(rate * FAULTS))):
            await _fail(xero, random.choice(COMMON), random)
        if second % 3 == 0:
            await _fail(xero, random.choice(RARE), random)
        if second % 7 == 0:
            offline = {"tenant": _somebody(random), "seconds": 1.0}
            await ask(xero.url, "/_simulator/faults", {"offline": offline})
        if second % 30 == 15:
            everybody = random.choice(("maintenance", "unavailable"))
            await ask(xero.url, "/_simulator/faults", {everybody: 0.3})
        await clock.sleep_until(clock.now() + 1.0)


async def _fail(xero: Machine, kind: FaultKind, random: Random) -> None:
    """Let the next call of somebody fail."""
    failure = {"kind": kind, "tenant": _somebody(random), "executed": random.random() < 0.5}
    await ask(xero.url, "/_simulator/faults", {"fail_next": failure})


def _somebody(random: Random) -> str:
    return f"org-{random.randrange(TENANTS)}"


async def _watch(xero: Machine, car: Machine, found: Soak, clock: Clock) -> None:
    began = clock.now()
    for second in count():
        found.memory.append((clock.now() - began, car.memory()))
        if second % 5 == 4:
            await _read_ledger(xero, found)
        await clock.sleep_until(clock.now() + 1.0)


async def _read_ledger(xero: Machine, found: Soak) -> None:
    """Enter what the simulator executed since the last look."""
    ledger = await ask(xero.url, f"/_simulator/ledger?after={found.seen}")
    for entry in ledger["entries"]:
        found.seen = entry["sequence"]
        if entry["executed"]:
            found.account.executed[entry["path"].rpartition("/")[2]] += 1


async def _ended(car: Machine, clock: Clock) -> int:
    """Wait until no request is in the sidecar; how many are left when that takes too long."""
    give_up = clock.now() + REST_SECONDS
    while True:
        status = await ask(car.admin, "/status")
        left = int(status["waiting"]) + sum(int(tenant["in_flight"]) for tenant in status["tenants"])
        if not left or clock.now() > give_up:
            return left
        await clock.sleep_until(clock.now() + 0.1)


async def _files(car: Machine, fresh: int, clock: Clock) -> int:
    """Open files once they are as few as in a fresh process, or when that takes too long."""
    give_up = clock.now() + REST_SECONDS
    while car.files() > fresh and clock.now() < give_up:
        await clock.sleep_until(clock.now() + 0.1)
    return car.files()
