"""Raw peers over real loopback sockets: an origin that keeps a ledger, and a caller that sends bytes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from config.values import Origin
from proxy.clock import Clock
from proxy.core.model import Failure, Headers, Host
from proxy.core.wire.headers import end_to_end_request, end_to_end_response
from proxy.http.body import Body, BodyProblem, BodyStore
from proxy.http.callers import Call, Downstream, Handler
from proxy.http.response import Response
from proxy.http.spool import SpoolFile
from proxy.http.upstream import Outbound, Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


def reset_on_close(endpoint: socket.socket) -> None:
    """Let the end of a connection be a TCP reset."""
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def local(port: int, scheme: str = "http") -> Origin:
    return Origin(scheme, "127.0.0.1", port)


@dataclass
class Ledger:
    """What a raw origin saw: each executed request, whole, and how many connections were opened."""

    address: Origin
    requests: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return len(self.writers)


class Close(bytes):
    """An answer after which the origin closes; empty for none at all."""


Answer = Callable[[bytes], bytes]


Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@contextlib.asynccontextmanager
async def serving(
    converse: Converse, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Origin]:
    """A raw server: `converse` has each connection, and all are ended at the end."""
    writers: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Future[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await converse(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        tasks.add(asyncio.ensure_future(run(reader, writer)))

    server = await asyncio.start_server(accept, host, port, ssl=tls)
    try:
        yield local(server.sockets[0].getsockname()[1], "https" if tls else "http")
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*tasks)


def without_body(request: bytes, reply: bytes) -> bytes:
    """What answers a request: no `OK` to HEAD has a body."""
    return reply.removesuffix(b"ok") if reply == OK and request.startswith(b"HEAD ") else reply


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One whole request, whose body is as long as Content-Length says."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


@contextlib.asynccontextmanager
async def origin(answer: Answer | bytes = OK) -> AsyncIterator[Ledger]:
    """An origin that answers each whole request with `answer`, and closes after a `Close`."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.writers.append(writer)
        while True:
            request = await read_request(reader)
            seen.requests.append(request)
            reply = answer(request) if callable(answer) else answer
            writer.write(without_body(request, reply))
            await writer.drain()
            if isinstance(reply, Close):
                return

    async with serving(converse) as address:
        seen = Ledger(address)
        yield seen


@contextlib.asynccontextmanager
async def upstream(address: Origin, **settings: Any) -> AsyncIterator[Upstream]:
    one = Upstream(address, address, **{"connect_timeout": 10, "timeout": 30, "clock": Clock(), **settings})
    try:
        yield one
    finally:
        await one.close()


def refusal(kind: str, detail: str, _method: str) -> tuple[int, Headers, bytes]:
    statuses = {"method": 405, "timeout": 408, "misdirected": 421, "head_too_large": 431, "internal": 500}
    return statuses.get(kind, 400), ((b"X-Kind", kind.encode()),), detail.encode()


@dataclass
class Proxied:
    """A running callers' side."""

    port: int
    downstream: Downstream
    crashes: list[str]


@contextlib.asynccontextmanager
async def downstream(handle: Handler, at: str = "127.0.0.1", **timeouts: float) -> AsyncIterator[Proxied]:
    crashes: list[str] = []
    server = Downstream(handle, refusal, clock=Clock(), crashed=crashes.append, **timeouts)  # type: ignore[arg-type]  # they are timeouts alone
    port = await server.start(at, 0)
    try:
        yield Proxied(port, server, crashes)
    finally:
        await server.close()


def forwarder(up: Upstream, store: BodyStore | None = None) -> Handler:
    """The shortest handler that forwards."""
    bodies = store or BodyStore(1024 * 1024, 64 * 1024 * 1024)

    async def handle(call: Call) -> None:
        body = await call.keep_body(bodies)
        if isinstance(body, BodyProblem):
            await call.respond(400, b"", ((b"X-Kind", body.encode()),))
            return
        headers = end_to_end_request(call.fields)
        response = await up.send(Outbound(Host.API, call.method, call.target, headers, body))
        if body is not None:
            body.close()
        if isinstance(response, Failure):
            await call.respond(502, b"", ((b"X-Failure", response.name.encode()),))
            return
        rest = None
        if not response.complete:
            response.read_ahead(lambda: None)
            rest = response
        fields = end_to_end_response(response.fields)
        await call.respond(
            response.status, response.reason, fields, response.first, rest, declared=response.length
        )

    return handle


@contextlib.asynccontextmanager
async def caller(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer_to(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Send `request` on a connection of its own; return head and body of the first final answer."""
    async with caller(port) as (reader, writer):
        writer.write(request)
        return await read_answer(reader)


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1])) if length else b""


def status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


@contextlib.asynccontextmanager
async def proxy(answer: Answer | bytes = OK) -> AsyncIterator[tuple[int, Ledger]]:
    """Callers' side and upstream joined, in front of a raw origin."""
    async with (
        origin(answer) as seen,
        upstream(seen.address) as up,
        downstream(forwarder(up)) as proxied,
    ):
        yield proxied.port, seen


HOST = b"Host: x\r\n"


def request(line: bytes = b"GET /", *fields: bytes, body: bytes = b"") -> bytes:
    """A request of a caller's, with Host."""
    return line + b" HTTP/1.1\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


Kept = list[Body | BodyProblem | None]


def keeping(store: BodyStore, seen: Kept) -> Handler:
    """A handler that keeps the body and answers 200, or 400 where that failed."""

    async def handle(call: Call) -> None:
        kept = await call.keep_body(store)
        seen.append(kept)
        await call.respond(400 if isinstance(kept, BodyProblem) else 200, b"", ())

    return handle


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    clock = Clock()
    for _ in range(100_000):
        if condition():
            return
        await clock.sleep_until(clock.now())
    raise AssertionError("it never came true")


async def ok(call: Call) -> None:
    """The handler that answers at once."""
    await call.respond(200, b"OK", ((b"X-Target", call.target),), call.method.encode())


async def kept(data: bytes, memory: int = 1_000_000, spool: SpoolFile | None = None) -> Body:
    """A body that is kept: on disk where it is larger than `memory`."""

    class Whole:
        left = data

        async def read(self) -> bytes:
            piece, self.left = self.left, b""
            return piece

    body = await BodyStore(memory, 100_000_000, spool).keep(Whole(), None)
    assert isinstance(body, Body)
    return body


def get(
    target: bytes = b"/", *, method: str = "GET", headers: Headers = (), body: Body | None = None
) -> Outbound:
    return Outbound(Host.API, method, target, headers, body)


async def good(up: Upstream, outbound: Outbound | None = None) -> Response:
    """Send, and expect a response."""
    response = await up.send(outbound or get())
    assert isinstance(response, Response), response
    return response


async def whole_of(response: Response) -> bytes:
    """The body, read to its end."""
    body = response.first
    while piece := await response.read():
        body += piece
    return body


async def bad(up: Upstream, outbound: Outbound | None = None) -> Failure:
    """Send, and expect a failure."""
    failure = await up.send(outbound or get())
    assert isinstance(failure, Failure), failure
    return failure


@contextlib.asynccontextmanager
async def answering(answer: Answer | bytes, **settings: Any) -> AsyncIterator[tuple[Upstream, Ledger]]:
    """An origin and the upstream side in front of it."""
    async with origin(answer) as seen, upstream(seen.address, **settings) as up:
        yield up, seen
