"""Processes: replicas before one Xero, a load on them, and what Xero says that it saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.harness import request
from tests.e2e.test_process import environ
from tests.faults.processes import COMMAND, Process

MINUTE, CONCURRENT = 60, 5
LATENCY_MS = (50, 300)
TENANT = "t1"
WAIT_SECONDS = 600


@dataclass(slots=True)
class Arrival:
    """A call that Xero counted: when, on its clock, from which replica, and what it answered."""

    at: float
    replica: str
    status: int


class Xero:
    """The simulator, a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, path: str = "") -> Any:
        """JSON of the simulator's control."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"GET /_simulator/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
        finally:
            writer.close()

    async def arrivals(self) -> list[Arrival]:
        """Everything that arrived, in order."""
        entries = (await self.ask("ledger"))["entries"]
        return [Arrival(each["time"], each["path"].rpartition("/")[2], each["status"]) for each in entries]


@contextlib.asynccontextmanager
async def xero(window: float) -> AsyncIterator[Xero]:
    """One whose minute lasts `window` seconds."""
    arguments = ("--window-seconds", str(window), "--latency-ms", "{}:{}".format(*LATENCY_MS))
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "simulator", "--listen", "127.0.0.1:0", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield Xero(line.split()[3])
    finally:
        process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def replica(upstream: str, redis_url: str, window: float, **settings: Any) -> AsyncIterator[Process]:
    """A sidecar that shares its limits. It may be killed; else it must end in order."""
    settings = {
        "upstream": upstream,
        "identity_upstream": upstream,
        "redis_url": redis_url,
        "minute_window_seconds": window,
        "drain_seconds": 5,
        **settings,
    }
    started = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        env=environ(**settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    process = Process(started)
    try:
        (listening,) = await process.logged("listening")
        process.port = int(listening["listen"].rpartition(":")[2])
        process.admin_port = int(listening["admin_listen"].rpartition(":")[2])
        yield process
        if started.returncode is None:
            assert await process.stop() == 0
            assert process.errors == b""
            assert [line for line in process.lines if line["event"] in {"crashed", "library"}] == []
    finally:
        await process.kill()


@dataclass(slots=True)
class Load:
    """Callers of each replica, each with one request, and what became of them: statuses by replica. A caller
    whose replica was killed has none.
    """

    statuses: dict[str, Counter[int]] = field(default_factory=dict)

    async def backlog(self, name: str, process: Process, calls: int) -> None:
        """So many callers at once."""
        await asyncio.gather(*(self.call(name, process) for _ in range(calls)))

    async def call(self, name: str, process: Process, wait: int = WAIT_SECONDS) -> None:
        """One caller."""
        target = f"GET /api.xro/2.0/Reports/{name}".encode()
        raw = request(target, f"Xero-Tenant-Id: {TENANT}".encode(), f"Prefer: wait={wait}".encode())
        try:
            async with process.caller() as caller:
                reply = await caller.ask(raw)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        self.statuses.setdefault(name, Counter())[reply.status] += 1

    @property
    def answered(self) -> Counter[int]:
        """Answers by status, over all replicas."""
        return sum(self.statuses.values(), Counter())


def most_in_window(times: Iterable[float], window: float) -> int:
    """The most that any window of so many seconds held."""
    held: list[float] = []
    most = 0
    for at in sorted(times):
        held = [*(each for each in held if each + window > at), at]
        most = max(most, len(held))
    return most


def ideal_seconds(calls: int, window: float) -> float:
    """The least time from the first to the last arrival of so many calls."""
    windows, place = divmod(calls - 1, MINUTE)
    return windows * window + place // CONCURRENT * sum(LATENCY_MS) / 2000


def say(text: str) -> None:
    """A figure that is worth being quoted; pytest shows it with -s."""
    sys.stdout.write(f"\n{text}\n")
