"""Requests and answers as bytes on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from proxy.simulator.server import Simulator

Start = Callable[..., Awaitable[Simulator]]
GET = b"GET /api.xro/2.0/Organisation HTTP/1.1"
TOO_MANY = b"HTTP/1.1 429 Too Many Requests"


def head(line: bytes = GET, *fields: bytes) -> bytes:
    always = (b"Host: xero", b"Authorization: Bearer any", b"Xero-Tenant-Id: t1", b"Accept: application/json")
    return b"\r\n".join((line, *always, *fields, b"", b""))


def write(body: bytes = b'{"Name":"Ada"}', *fields: bytes) -> bytes:
    return head(b"PUT /api.xro/2.0/Contacts HTTP/1.1", b"Content-Length: %d" % len(body), *fields) + body


async def connect(simulator: Simulator) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(simulator.url)
    return await asyncio.open_connection(address.hostname, address.port)


async def exchange(simulator: Simulator, request: bytes) -> bytes:
    """Everything that comes back until the end of the connection, which the request asks for."""
    reader, writer = await connect(simulator)
    writer.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    try:
        return await reader.read()
    finally:
        writer.close()


async def answer(simulator: Simulator, request: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, fields but those of the connection, and body."""
    top, _, body = (await exchange(simulator, request)).partition(b"\r\n\r\n")
    line, *rest = top.split(b"\r\n")
    fields = dict(field.split(b": ", 1) for field in rest)
    for name in (b"Date", b"Connection"):
        fields.pop(name, None)
    assert fields.pop(b"Server") == b"nginx"
    return line, fields, body
