"""Canaries in everything that a caller sends, through the faults of callers, upstream, process and host."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Reply, request
from tests.faults.origin import Act, Then, misbehaving
from tests.faults.processes import Process, sidecar

CANARY = b"c4n4ry"
TENANT = b"0c4n4ry0-tenant"
FIELDS = (
    b"Authorization: Bearer c4n4ry-token",
    b"Cookie: session=c4n4ry-cookie",
    b"Idempotency-Key: c4n4ry-key",
    b"Xero-Tenant-Id: " + TENANT,
    b"Prefer: wait=1",
)
TARGET = b"/api.xro/2.0/Contacts/c4n4ry-id?where=c4n4ry-query"
GET = request(b"GET " + TARGET, *FIELDS)
PUT = request(b"PUT " + TARGET, *FIELDS, body=b'{"Name":"c4n4ry-body"}')
UPLOAD = request(b"POST " + TARGET, *FIELDS, body=b"c4n4ry-body" * 100_000)

SAID = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n"
UPSTREAM = {
    "success": Act(),
    "close": Act(executes=False, sends=b"", then=Then.CLOSE),
    "reset": Act(executes=False, sends=b"", then=Then.RESET),
    "hang": Act(sends=b"", then=Then.HANG),
    "cut head": Act(sends=b"HTTP/1.1 200 OK\r\n", then=Then.RESET),
    "cut body": Act(sends=b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nc4n4ry-cut", then=Then.CLOSE),
    "bad chunk": Act(sends=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc4n4ry\r\n"),
    "garbage": Act(sends=b"c4n4ry-garbage\r\n\r\n"),
    "bad field": Act(sends=b"HTTP/1.1 200 c4n4ry\r\nc4n4ry\r\n\r\n"),
    "two lengths": Act(sends=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nc4n4ry"),
    "101": Act(sends=SAID % b"101 c4n4ry"),
    "999": Act(sends=SAID % b"999 c4n4ry"),
    "500": Act(sends=SAID % b"500 Oh"),
    "502": Act(sends=SAID % b"502 Oh"),
    "401": Act(sends=SAID % b"401 Oh"),
    "odd 429": Act(
        sends=b"HTTP/1.1 429 Oh\r\nRetry-After: c4n4ry\r\nX-Rate-Limit-Problem: c4n4ry\r\n"
        b"Content-Length: 0\r\n\r\n"
    ),
    "offline": Act(sends=b"HTTP/1.1 503 Oh\r\nContent-Length: 27\r\n\r\nThe Organisation is offline"),
}


class Told:
    """All that the proxy said itself, to callers and operators."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.own = 0

    def heard(self, reply: Reply) -> None:
        """Keep an answer, if it is the proxy's own; what is Xero's goes to its caller as it came."""
        if b"error=" in (reply.field(b"proxy-status") or b""):
            self.own += 1
            self.said += [reply.reason, reply.body, *(name + b": " + value for name, value in reply.headers)]

    def holds(self, word: bytes) -> list[bytes]:
        return [said for said in self.said if word in said.lower()]


@contextlib.asynccontextmanager
async def watched(upstream: str, spool: Path, told: Told, **settings: Any) -> AsyncIterator[Process]:
    """A process that logs at debug level, names no organisation in metrics, and is searched at the end."""
    settings = {
        "log_level": "debug",
        "tenant_label": "hash",
        "spool_dir": spool,
        "body_memory_bytes": 65536,
        "upstream_timeout_seconds": 2,
        "connect_timeout_seconds": 2,
        "retry_backoff_seconds": 0.05,
        **settings,
    }
    async with sidecar(upstream, **settings) as process:
        yield process
        told.said.append(await process.admin("/metrics"))
        for path in ("/", "/status", "/readyz"):
            told.said.append((await process.admin(path)).replace(TENANT, b""))  # they show it by contract
        told.said += left_on_disk(spool)
    for line in process.lines:
        line.pop("tenant", None)  # named by contract
    told.said += [repr(process.lines).encode(), process.errors]


def left_on_disk(folder: Path) -> list[bytes]:
    """Names and contents of the files that others can find."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path).encode() + path.read_bytes() for path in files]


async def ask(process: Process, told: Told, raw: bytes) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        told.heard(await process.ask(raw))


async def leave_early(process: Process, told: Told) -> None:
    for raw in (GET, PUT, UPLOAD):
        for cut in (60, len(raw) - 5, len(raw)):
            async with process.caller() as caller:
                caller.writer.write(raw[:cut])
                await process.admin("/livez")
                caller.leave()
    await ask(process, told, PUT)


async def send_nonsense(process: Process, told: Told) -> None:
    many = b"".join(b"c4n4ry-%d: c4n4ry\r\n" % number for number in range(20_000))
    for raw in (
        GET.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\n" + many),
        GET.replace(b"GET ", b"C4N4RY "),
        GET.replace(b"GET /", b"GET http://c4n4ry.test/"),
        GET.replace(b"Host: proxy", b"Host: c4n4ry host"),
        GET.replace(b"Prefer: wait=1", b"c4n4ry broken field"),
        PUT.replace(b"Content-Length: ", b"Content-Length: c4n4ry"),
        PUT.replace(b"Content-Length: ", b"Content-Length: 99999999"),
        PUT.replace(b"Prefer: wait=1", b"Transfer-Encoding: c4n4ry"),
        PUT.replace(b"Prefer: wait=1", b"Expect: c4n4ry"),
        PUT.replace(b"Prefer: wait=1", b"Connection: Authorization, c4n4ry"),
        b"c4n4ry\r\n\r\n",
        b"\x16\x03\x01c4n4ry\r\n\r\n",
    ):
        await ask(process, told, raw)


async def fill_the_disk(process: Process, told: Told) -> None:
    bound = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, bound[1]))
    await ask(process, told, UPLOAD)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, bound)


async def use_up_the_limit(process: Process, told: Told) -> None:
    await asyncio.gather(*(ask(process, told, raw) for raw in [GET] * 70 + [PUT] * 5))


FAULTS: tuple[Callable[[Process, Told], Awaitable[None]], ...] = (
    leave_early,
    send_nonsense,
    fill_the_disk,
    use_up_the_limit,
)


@pytest.mark.parametrize("fault", UPSTREAM)
async def test_secrets_through_faults_upstream(fault: str, tmp_path: Path) -> None:
    """No token, body, query, cookie, key or tenant in a log line (debug level too), metric, status page,
    error or file, whatever Xero does. The log and the status name the tenant, by contract.
    """
    told = Told()
    async with (
        misbehaving(*[UPSTREAM[fault]] * 40) as ledger,
        watched(str(ledger.address), tmp_path, told) as process,
    ):
        for raw in (GET, PUT, UPLOAD):
            await ask(process, told, raw)
    assert told.holds(CANARY) == []
    assert ledger.requests


async def test_secrets_through_faults_of_callers_process_and_host(tmp_path: Path) -> None:
    """The same with callers that leave or send nonsense, a full disk and a spent limit."""
    told = Told()
    for fault in FAULTS:
        async with misbehaving() as ledger, watched(str(ledger.address), tmp_path, told) as process:
            await fault(process, told)
    assert told.own > 10
    assert told.holds(CANARY) == []


def test_secrets_that_come_out(tmp_path: Path) -> None:
    """Are found: the check itself is checked."""
    told = Told()
    (tmp_path / "left").write_bytes(CANARY)
    told.said += left_on_disk(tmp_path)
    assert told.holds(CANARY)
