"""`xero-proxy serve` as a process, under limits of the operating system, and an origin beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import Clock
from tests.e2e.harness import Caller, Reply, request
from tests.e2e.test_process import environ
from tests.sockets import serving

COMMAND = (sys.executable, "-c", "import sys; from proxy.cli import main; sys.exit(main())")
PATIENCE = 60.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_MARK = re.compile(rb"[?&]n=([^& ]+)")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


def need_descriptors(wanted: int) -> None:
    """Let this process and its children open so many files, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in {-1, resource.RLIM_INFINITY} and hard < wanted:
        pytest.skip(f"{wanted:,} file descriptors are needed and {hard:,} are allowed")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Origin:
    """Answers 200, or what it is to `say`, while its gate is open. `executed` counts each whole request by
    its `?n=`.
    """

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.say: dict[str, bytes] = {}
        self.url = ""

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            mark = _MARK.search(head)
            name = mark[1].decode() if mark else ""
            self.executed[name] += 1
            self.bytes[name] += len(body)
            await self.gate.wait()
            writer.write(self.say.get(name, OK))
            await writer.drain()


@contextlib.asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    one = Origin()
    async with serving(one.converse) as address:
        one.url = str(address)
        try:
            yield one
        finally:
            one.gate.set()


class Process:
    """A sidecar that runs. Its output is read all the time; `lines` is what it logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid
        self.port = self.admin_port = 0
        self.lines: list[dict[str, Any]] = []
        self.errors = b""
        self._told = False
        self._more = asyncio.Event()
        self._reading_errors = asyncio.create_task(self._read_errors())
        self._reading_log = asyncio.create_task(self._read_log())

    async def _read_log(self) -> None:
        assert self.process.stdout is not None
        while text := await self.process.stdout.readline():
            if text.endswith(b"\n"):  # not what the end of the process cut off
                self.lines.append(json.loads(text))
            self._more.set()
        self._more.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = await self.process.stderr.read()

    async def read_no_more(self) -> None:
        """Leave the log in the pipe from now on."""
        self._reading_log.cancel()
        await asyncio.wait([self._reading_log])

    async def logged(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until it has logged so many lines of this event."""
        while len(found := [line for line in self.lines if line["event"] == event]) < times:
            assert not self._reading_log.done(), f"it ended without {event}: {self.errors!r}"
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), PATIENCE)
        return found

    @contextlib.asynccontextmanager
    async def caller(self, port: int = 0) -> AsyncIterator[Caller]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        try:
            yield Caller(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, raw: bytes, port: int = 0) -> Reply:
        async with self.caller(port) as caller:
            return await asyncio.wait_for(caller.ask(raw), PATIENCE)

    async def admin(self, path: str) -> bytes:
        return (await self.ask(request(b"GET " + path.encode()), self.admin_port)).body

    async def status(self) -> dict[str, Any]:
        """What `/status` says."""
        status: dict[str, Any] = json.loads(await self.admin("/status"))
        return status

    async def waiting(self, callers: int) -> None:
        """Until so many requests wait."""
        while (await self.status())["waiting"] != callers:
            assert self.process.returncode is None

    async def count(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        total = 0.0
        for line in (await self.admin("/metrics")).decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == f"xero_proxy_{name}":
                total += float(value) * all(f'{k}="{v}"' in series for k, v in labels.items())
        return total

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes that it holds now (VmRSS) or held at most (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def stop(self) -> int:
        """Send SIGTERM, once, and wait for the end; the exit code."""
        self.tell()
        return await self.ended()

    def tell(self) -> None:
        """Send SIGTERM, once. Not through `Popen`, which would take the exit code before asyncio can."""
        if not self._told:
            os.kill(self.pid, signal.SIGTERM)
        self._told = True

    async def left(self) -> None:
        """Wait for the end of the process, whatever it left unread."""
        descriptor = os.pidfd_open(self.pid)
        over = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, over.set)
        try:
            await asyncio.wait_for(over.wait(), PATIENCE)
        finally:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    async def ended(self) -> int:
        if self._reading_log.cancelled():  # asyncio takes a process for running while it has output
            self._reading_log = asyncio.create_task(self._read_log())
        code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        await asyncio.gather(self._reading_log, self._reading_errors)
        return code

    async def kill(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            await self.ended()


@contextlib.asynccontextmanager
async def started(
    upstream: str,
    *,
    first: str = ":",
    environment: dict[str, str] | None = None,
    command: tuple[str, ...] = COMMAND,
    **settings: Any,
) -> AsyncIterator[Process]:
    """Run one after `first` (shell commands), until it ends or is killed."""
    settings = {"identity_upstream": upstream, "drain_seconds": 5, **settings}
    process = Process(
        await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            f'{first} && exec "$@"',
            "sh",
            *command,
            "serve",
            env=environ(upstream=upstream, **settings) | (environment or {}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    try:
        (listening,) = await process.logged("listening")
        process.port = int(listening["listen"].rpartition(":")[2])
        process.admin_port = int(listening["admin_listen"].rpartition(":")[2])
        yield process
    finally:
        await process.kill()


@contextlib.asynccontextmanager
async def sidecar(
    upstream: str, *, first: str = ":", environment: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Process]:
    """The same; at the end it must live and have crashed nowhere."""
    async with started(upstream, first=first, environment=environment, **settings) as process:
        yield process
        assert await process.stop() == 0
        assert process.errors == b""
        assert [line for line in process.lines if line["event"] in {"crashed", "library"}] == []


def marked(
    mark: object, tenant: str = "t1", method: str = "GET", body: bytes | None = None, wait: int = 120
) -> bytes:
    """A request that the origin's ledger knows again."""
    line = f"{method} /api.xro/2.0/Contacts?n={mark}".encode()
    return request(line, f"Xero-Tenant-Id: {tenant}".encode(), f"Prefer: wait={wait}".encode(), body=body)


def elapsed(since: float) -> float:
    return Clock().now() - since
