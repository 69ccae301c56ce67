"""What aiohttp's server does that the callers' port must not do, by its own.

Each of these fails once the library has mended it. If all have, the callers' port may be built on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.clock import Clock

Seen = list[web.BaseRequest]
MENDED = "aiohttp has mended this: see whether what is left is reason enough for a callers' port of our own"


@contextlib.asynccontextmanager
async def library() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Seen]]:
    """A caller of the library's server, whose handler reads the body and answers 200."""
    seen: Seen = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        await request.read()
        return web.Response(text="ok")

    server = web.Server(handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.sockets[0].getsockname()[1])
    try:
        yield reader, writer, seen
    finally:
        writer.close()
        listening.close()
        await server.shutdown(0.01)


async def test_a_trailer_becomes_a_field_of_the_next_request() -> None:
    async with library() as (reader, writer, seen):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
            b"Authorization: Bearer another's\r\n\r\n"
            b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        await reader.read()
    assert seen[1].headers["Authorization"] == "Bearer another's", MENDED


@pytest.mark.parametrize("sent", [b"GET /\r\n\r\n", b"GET / RTSP/1.0\r\nHost: x\r\n\r\n"])
async def test_what_is_not_http_1_is_taken_for_it(sent: bytes) -> None:
    async with library() as (reader, writer, seen):
        writer.write(sent)
        assert b" 200 OK" in await reader.readline(), MENDED
    assert len(seen) == 1, MENDED


async def test_two_readings_of_where_a_request_of_http_1_0_ends_are_accepted() -> None:
    async with library() as (reader, writer, seen):
        writer.write(b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert b" 200 OK" in await reader.readline(), MENDED
    assert len(seen) == 1, MENDED


@pytest.mark.parametrize(
    "sent", [b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/3.0\r\nHost: x\r\n\r\n"]
)
async def test_a_method_or_version_that_it_does_not_know_is_told_as_400(sent: bytes) -> None:
    async with library() as (reader, writer, _):
        writer.write(sent)
        assert b" 400 " in await reader.readline(), MENDED


@pytest.mark.looptime
async def test_whoever_waits_for_100_continue_waits_for_ever() -> None:
    async with library() as (reader, writer, _):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        with pytest.raises(TimeoutError):  # or aiohttp has mended this
            await asyncio.wait_for(reader.readline(), 600.0)


@pytest.mark.looptime
async def test_a_head_that_does_not_end_has_an_hour_and_is_told_nothing() -> None:
    clock = Clock()
    async with library() as (reader, writer, _):
        began = clock.now()
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await reader.read() == b"", MENDED
        assert clock.now() - began > 3600, MENDED
