"""A whole sidecar on free ports in the test's own loop, and callers that speak HTTP in bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from config.settings import read_settings
from proxy.app import Sidecar
from proxy.clock import Clock
from proxy.core.model import Headers
from proxy.core.wire.fields import Fields
from proxy.observe.log import Log
from proxy.simulator.options import Options
from proxy.simulator.server import Simulator

TOKEN = b"Bearer opaque"
MARKS = (b"proxy-status", b"x-xero-proxy-class", b"x-xero-proxy-attempts", b"server-timing")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a caller received, as it came; `at` is when its last byte was read."""

    status: int
    reason: bytes
    headers: Headers
    body: bytes
    at: float

    def field(self, name: bytes) -> bytes | None:
        return Fields(self.headers).get(name)

    @property
    def class_(self) -> str:
        return (self.field(b"x-xero-proxy-class") or b"").decode()

    @property
    def attempts(self) -> int:
        return int(self.field(b"x-xero-proxy-attempts") or b"-1")

    @property
    def wait(self) -> int | None:
        value = self.field(b"retry-after")
        return None if value is None else int(value)

    @property
    def problem(self) -> dict[str, Any]:
        """The JSON body of an answer of the proxy's own."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def marks(self) -> list[bytes]:
        """The names of the proxy's marks, as often as they are there."""
        return [name.lower() for name, _ in self.headers if name.lower() in MARKS]


def request(line: bytes = b"GET /api.xro/2.0/Contacts", *fields: bytes, body: bytes | None = None) -> bytes:
    """A request with what every caller sends; a field given replaces the usual one of its name."""
    given = {field.split(b":")[0].lower() for field in fields}
    usual = [b"Host: proxy", b"Authorization: " + TOKEN, b"Xero-Tenant-Id: t1"]
    usual = [field for field in usual if field.split(b":")[0].lower() not in given]
    if body is not None:
        usual.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join((line + b" HTTP/1.1", *usual, *fields, b"", body or b""))


def put(body: bytes = b'{"Name":"Ada"}', *fields: bytes) -> bytes:
    return request(b"PUT /api.xro/2.0/Contacts", b"Accept: application/json", *fields, body=body)


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, raw: bytes) -> Reply:
        """Send, and read one whole answer."""
        self.writer.write(raw)
        return await self.reply(head_only=raw.startswith(b"HEAD "))

    async def reply(self, *, head_only: bool = False) -> Reply:
        line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")
        status, reason = int(line.split(b" ", 2)[1]), line.split(b" ", 2)[2]
        headers = tuple((name, value) for name, _, value in (each.partition(b": ") for each in lines))
        body = b""
        length = Fields(headers).get(b"content-length")
        if head_only or status in {204, 304}:
            pass
        elif length is not None:
            body = await self.reader.readexactly(int(length))
        else:
            assert Fields(headers).get(b"transfer-encoding") == b"chunked"
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        return Reply(status, reason, headers, body, Clock().now())

    def leave(self) -> None:
        self.writer.transport.abort()


class Running:
    """A sidecar that listens, and its log."""

    def __init__(self, car: Sidecar, log: Log, path: Path) -> None:
        self.car = car
        self.clock = Clock()
        self._log = log
        self._path = path
        self._text = ""
        self._stopped = False
        self.crashes = False

    @contextlib.asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.car.port)
        try:
            yield Caller(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, raw: bytes) -> Reply:
        """One request on a connection of its own."""
        async with self.caller() as caller:
            return await caller.ask(raw)

    async def ask_admin(self, raw: bytes) -> Reply:
        """One request to the admin port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.car.admin_port)
        try:
            return await Caller(reader, writer).ask(raw)
        finally:
            writer.close()

    def start(self, raw: bytes) -> asyncio.Task[Reply]:
        return asyncio.create_task(self.ask(raw))

    async def admin(self, path: str) -> bytes:
        """The body of a page of the admin port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.car.admin_port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer.partition(b"\r\n\r\n")[2]

    async def post(self, path: str, value: object, token: str) -> int:
        """Change something on the admin port; the status of its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.car.admin_port)
        fields = f"Host: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
        body = json.dumps(value)
        writer.write(f"POST {path} HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ")[1])

    async def count(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        total = 0.0
        for line in (await self.admin("/metrics")).decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == f"xero_proxy_{name}" and all(each in series for each in wanted):
                total += float(value)
        return total

    async def status(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(await self.admin("/status"))
        return value

    async def stop(self) -> None:
        """As SIGTERM does, at most once."""
        if not self._stopped:
            self._stopped = True
            await self.car.stop()

    async def passes(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)

    def lines(self, event: str = "request") -> list[dict[str, Any]]:
        """The log's lines so far; nothing is logged after that."""
        read = [json.loads(line) for line in self.text().splitlines()]
        return [line for line in read if line["event"] == event]

    def text(self) -> str:
        """The log so far; nothing is logged after that."""
        if not self._text:
            self._log.close(5.0)
            self._text = self._path.read_text()
        return self._text


@contextlib.asynccontextmanager
async def sidecar(upstream: str, **settings: object) -> AsyncIterator[Running]:
    """Run a sidecar; at the end nothing may have crashed (unless `crashes` is set) and nothing be left."""
    environ = {
        "XERO_PROXY_LISTEN": "127.0.0.1:0",
        "XERO_PROXY_ADMIN_LISTEN": "127.0.0.1:0",
        "XERO_PROXY_UPSTREAM": upstream,
        "XERO_PROXY_IDENTITY_UPSTREAM": upstream,
        "XERO_PROXY_DRAIN_SECONDS": "1",
        **{f"XERO_PROXY_{name.upper()}": str(value) for name, value in settings.items()},
    }
    clock = Clock()
    with tempfile.NamedTemporaryFile() as file:
        log = Log(clock.wall, descriptor=file.fileno())
        car = Sidecar(read_settings(environ), log, clock, Random(0))
        running = Running(car, log, Path(file.name))
        try:
            await car.start()
            yield running
        finally:
            await running.stop()
            await clock.sleep_until(clock.now())
            left = car.scheduler.snapshot()
            text = running.text()
        assert ("crashed" in text) == running.crashes
        assert "library" not in text
        assert left.waiting == 0
        assert [view for view in left.tenants if view.in_flight] == []


@contextlib.asynccontextmanager
async def xero(**options: Any) -> AsyncIterator[Simulator]:
    """Run a simulator."""
    simulator = Simulator(Options(**options))
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.close()


@contextlib.asynccontextmanager
async def both(
    options: dict[str, Any] | None = None, **settings: object
) -> AsyncIterator[tuple[Running, Simulator]]:
    """A simulator and a sidecar before it."""
    async with xero(**(options or {})) as simulator, sidecar(simulator.url, **settings) as running:
        yield running, simulator
