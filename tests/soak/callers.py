"""The callers: plain HTTP/1.1 over kept connections; some leave, some read slowly."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from random import Random

from proxy.clock import Clock
from tests.soak.account import Account

TENANTS = 50
BUSY = 0.08
"""Share of the calls that go to one organisation, more than its limit lets through."""
WRITES, LEAVERS, SLOW, LARGE = 0.35, 0.01, 0.003, 0.002
WAIT_SECONDS = 5
UPSTREAM_SECONDS = 10.0
PATIENCE = WAIT_SECONDS + UPSTREAM_SECONDS + 2.0
"""After it an answer is late: the wait in the proxy, the last attempt, and what a busy machine adds."""
KEPT_SECONDS = 30.0
FILE = "large.bin"
FILE_BYTES = 600_000
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")
_ATTEMPTS = re.compile(rb"(?i)\r\nx-xero-proxy-class: (\w+)\r\n")


@dataclass(frozen=True, slots=True)
class Planned:
    """One request. `mark` is in its path and comes back in its answer; `slow` takes its answer in sips,
    `leaves` is after how many seconds its caller goes without one.
    """

    mark: str
    raw: bytes
    write: bool = False
    slow: bool = False
    leaves: float | None = None


def planned(number: int, random: Random) -> Planned:
    """The request of this number."""
    tenant = f"org-{0 if random.random() < BUSY else random.randrange(1, TENANTS)}"
    mark, leaves = f"m{number:08}", None
    if random.random() < SLOW:
        return Planned(mark, _raw("GET", f"/Contacts/c/Attachments/{FILE}", tenant, None), slow=True)
    if random.random() < LEAVERS:
        leaves = random.uniform(0.0, 0.1)
    if random.random() >= WRITES:
        return Planned(mark, _raw("GET", f"/Reports/{mark}", tenant, None), leaves=leaves)
    size = 1_500_000 if random.random() < LARGE else random.choice((20, 200, 2000, 20_000))
    method = random.choice(("PUT", "POST"))
    raw = _raw(method, f"/Contacts/{mark}/Attachments/{mark}", tenant, b"x" * size)
    return Planned(mark, raw, write=True, leaves=leaves)


def upload(tenant: int) -> bytes:
    """Puts in place what slow readers read."""
    return _raw("PUT", f"/Contacts/c/Attachments/{FILE}", f"org-{tenant}", b"x" * FILE_BYTES)


def _raw(method: str, path: str, tenant: str, body: bytes | None) -> bytes:
    length = "" if body is None else f"Content-Length: {len(body)}\r\n"
    head = (
        f"{method} /api.xro/2.0{path} HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer soak\r\n"
        f"Xero-Tenant-Id: {tenant}\r\nAccept: application/json\r\nPrefer: wait={WAIT_SECONDS}\r\n{length}\r\n"
    )
    return head.encode() + (body or b"")


@dataclass(slots=True)
class _Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    since: float = 0.0


class Callers:
    """Sends requests to the sidecar on `port` and enters what becomes of them in `account`."""

    def __init__(self, port: int, account: Account, clock: Clock) -> None:
        self._port = port
        self._account = account
        self._clock = clock
        self._idle: list[_Line] = []

    async def send(self, request: Planned) -> None:
        """Send one request and take its answer."""
        account, began = self._account, self._clock.now()
        account.sent += 1
        if request.write:
            account.writes.add(request.mark)
        line = await self._connect()
        line.writer.write(request.raw)
        if request.leaves is not None:
            await self._clock.sleep_until(began + request.leaves)
            line.writer.transport.abort()
            account.left += 1
            return
        try:
            async with asyncio.timeout(PATIENCE + 30.0):
                await self._answered(line, request, began)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            account.no_answer.append(request.mark)
            line.writer.transport.abort()

    def close(self) -> None:
        """Give up the kept connections."""
        for line in self._idle:
            line.writer.close()
        self._idle.clear()

    async def _answered(self, line: _Line, request: Planned, began: float) -> None:
        account = self._account
        head = await line.reader.readuntil(b"\r\n\r\n")
        status, length = int(head[9:12]), _LENGTH.search(head)
        try:
            body = await self._body(line, int(length[1]) if length else None, slow=request.slow)
        except (ConnectionError, asyncio.IncompleteReadError):
            account.cut += 1
            line.writer.transport.abort()
            return
        found = _ATTEMPTS.search(head)
        account.statuses[f"{status} {found[1].decode() if found else '?'}"] += 1
        if self._clock.now() - began > PATIENCE and not request.slow:
            account.late.append(request.mark)
        if 200 <= status < 300 and not request.slow:
            account.succeeded.append(request.mark)
            if request.mark.encode() not in body:
                account.foreign.append(request.mark)
        if b"\r\nConnection: close\r\n" in head:
            line.writer.close()
        else:
            line.since = self._clock.now()
            self._idle.append(line)

    async def _body(self, line: _Line, length: int | None, *, slow: bool) -> bytes:
        if length is None:
            pieces = []
            while size := int(await line.reader.readline(), 16):
                pieces.append((await line.reader.readexactly(size + 2))[:-2])
            await line.reader.readline()
            return b"".join(pieces)
        if not slow:
            return await line.reader.readexactly(length)
        while length:
            length -= len(await line.reader.readexactly(min(length, 20_000)))
            await self._clock.sleep_until(self._clock.now() + 0.1)
        return b""

    async def _connect(self) -> _Line:
        while self._idle:
            line = self._idle.pop()
            if self._clock.now() - line.since < KEPT_SECONDS and not line.reader.at_eof():
                return line
            line.writer.close()
        return _Line(*await asyncio.open_connection("127.0.0.1", self._port))
