"""The state file under load: a process that is killed again and again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.stores.sqlite import BEHIND_SECONDS
from tests.e2e.harness import Caller, request
from tests.faults.processes import COMMAND, PATIENCE, Process, marked, started

ROUNDS = int(os.environ.get("RESTARTS", "10"))
TENANTS = [f"t{number}" for number in range(4)]
LIMIT, WINDOW, DAY, SLOTS, LATENCY = 40, 1.5, 1_000_000, 5, 0.04
LIMITS: dict[str, Any] = {
    "tenant_minute_limit": LIMIT,
    "minute_window_seconds": WINDOW,
    "tenant_day_limit": DAY,
    "tenant_concurrent_limit": SLOTS,
}
MOST_ANSWERS = 140
"""Of one life; at the limit they take a second and a half."""


@dataclass(slots=True)
class Simulator:
    """A simulated Xero in a process of its own: the witness of what arrived."""

    process: asyncio.subprocess.Process
    port: int
    began: float
    """By the wall clock, when its own showed 0."""
    entries: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, path: str) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            raw = request(b"GET /_simulator/" + path.encode())
            return (await asyncio.wait_for(Caller(reader, writer).ask(raw), PATIENCE)).problem
        finally:
            writer.close()

    async def now(self) -> float:
        return float((await self.ask("clock"))["now"])

    async def read_on(self) -> None:
        last = self.entries[-1]["sequence"] if self.entries else 0
        self.entries += (await self.ask(f"ledger?after={last}"))["entries"]

    def arrived(self, tenant: str, after: float = 0.0, *, refused: bool = False) -> int:
        """Calls that were counted, or (`refused`) answered 429, later than `after`."""
        return sum(
            entry["tenant"] == tenant and entry["time"] > after and (entry["status"] == 429) is refused
            for entry in self.entries
        )


@asynccontextmanager
async def simulated() -> AsyncIterator[Simulator]:
    flags = f"--listen 127.0.0.1:0 --minute-limit {LIMIT} --window-seconds {WINDOW} --day-limit {DAY}"
    flags += f" --latency-ms 20:{1000 * LATENCY:.0f}"
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "simulator",
        *flags.split(),
        "--latency-ms",
        f"20:{1000 * LATENCY:.0f}",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        pointer = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        xero = Simulator(process, int(pointer.split()[3].rpartition(b":")[2]), 0.0)
        now = await xero.now()
        xero.began = Clock().wall() - now  # later than it was, if anything: a write seems earlier
        yield xero
    finally:
        process.terminate()
        await process.communicate()


async def load(process: Process, xero: Simulator, answers: int) -> float:
    """Keep all slots of all organisations busy until so many answers have come, then kill the process; when
    that was.
    """
    enough = asyncio.Event()
    count = 0

    async def caller(tenant: str) -> None:
        nonlocal count
        with suppress(OSError, asyncio.IncompleteReadError):
            async with process.caller() as line:
                while not enough.is_set():
                    await line.ask(marked("load", tenant))
                    count += 1
                    if count >= answers:
                        enough.set()

    callers = [asyncio.create_task(caller(tenant)) for tenant in TENANTS for _ in range(SLOTS)]
    await asyncio.wait_for(enough.wait(), PATIENCE)
    killed = await xero.now()
    await process.kill()
    await asyncio.gather(*callers)
    return killed


def last_write(path: Path, copy: Path) -> float:
    """By the wall clock, from a copy of what the killed process left, which must be a whole database."""
    copy.mkdir(exist_ok=True)
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", copy / f"copy.db{ending}")
    with closing(sqlite3.connect(copy / "copy.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (wall,) = db.execute("SELECT wall FROM clock").fetchone()
    shutil.rmtree(copy)
    return float(wall)


async def test_sigkill_again_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is at most a second behind, and whole every time. The next process believes to have spent what
    Xero had counted when the file was last written, and what was missed since is mended by the first answers.
    """
    path, random, kills = tmp_path / "state.db", Random(0), list[float]()
    missable, missing = dict.fromkeys(TENANTS, 0), list[int]()
    async with simulated() as xero:
        for _ in range(ROUNDS + 1):
            async with started(f"http://127.0.0.1:{xero.port}", state_file=path, **LIMITS) as process:
                views = {
                    each["tenant"]: each for each in json.loads(await process.admin("/status"))["tenants"]
                }
                await xero.read_on()
                began = await xero.now()
                lives = sum(each > began - WINDOW for each in kills)
                missing += [
                    missed(views.get(each), xero, each, began, missable[each], lives) for each in TENANTS
                ]
                killed = await load(process, xero, random.randrange(1, MOST_ANSWERS))
            kills.append(killed)
            written = last_write(path, tmp_path / "copy") - xero.began
            assert killed - max(began, written) <= BEHIND_SECONDS
            await xero.read_on()
            for tenant in TENANTS:
                answered = xero.arrived(tenant, began) > xero.arrived(tenant, written - LATENCY)
                before = 0 if answered else missable[tenant]
                missable[tenant] = before + xero.arrived(tenant, max(began, written))
    refused = sum(xero.arrived(tenant, refused=True) for tenant in TENANTS)
    with capsys.disabled():
        print(  # noqa: T201 - figures to be quoted
            f"\n{ROUNDS} kills, {len(xero.entries)} calls, {refused} 429s; after a restart an organisation's "
            f"count was {fmean(missing):.1f} calls short on average, {max(missing)} at most"
        )


def missed(
    view: dict[str, Any] | None, xero: Simulator, tenant: str, now: float, missable: int, lives: int
) -> int:
    """How many calls an organisation's day lacks; the minute lacks no more than that may be. Calls that were
    in flight when an answer came are not in its count, and two `lives` or more can fall into so short a
    minute.
    """
    day = DAY - int(view["day_remaining"]) if view else 0
    minute = LIMIT - int(view["minute_remaining"]) if view else 0
    missing = xero.arrived(tenant) - day
    assert -SLOTS <= missing <= missable + SLOTS
    assert xero.arrived(tenant, now - WINDOW) - minute <= missable + max(2, lives) * SLOTS
    return missing
