"""Upstream: answers whose end is not where their sender thinks"""

from __future__ import annotations

import asyncio

import pytest

from proxy.clock import Clock
from tests.e2e.harness import Running, put, request, sidecar
from tests.faults.meeting import is_well
from tests.sockets import OK, read_request, serving

pytestmark = pytest.mark.looptime
FOREIGN = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign"
"""What must never be the answer to another request."""
SEGMENT = 0.05
"""Seconds after which the rest comes in a segment of its own."""


class Origin:
    """Says `first` to the first request of each connection and `later` a moment after it, then 200."""

    def __init__(self, first: bytes, later: bytes = b"", *, closes: bool = False) -> None:
        self.first = first
        self.later = later
        self.closes = closes
        self.requests: list[bytes] = []
        self.connections = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.requests.append(await read_request(reader))
        writer.write(self.first)
        await writer.drain()
        if self.later:
            clock = Clock()
            await clock.sleep_until(clock.now() + SEGMENT)
            writer.write(self.later)
        while not self.closes:
            self.requests.append(await read_request(reader))
            writer.write(OK)


async def served_once(proxy: Running, xero: Origin, raw: bytes, status: int, body: bytes) -> None:
    """The request is answered so after one send, and the next one on a new connection by its own answer."""
    reply = await proxy.ask(raw)
    assert (reply.status, reply.attempts, len(xero.requests)) == (status, 1, 1)
    assert reply.body == body
    xero.first, xero.later = OK, b""
    assert (await proxy.ask(put())).body == b"ok"
    assert xero.connections == 2


HEAD = request(b"HEAD /api.xro/2.0/Contacts")
BODILESS = pytest.mark.parametrize(
    ("raw", "status", "head"),
    [
        (request(), 204, b"HTTP/1.1 204 No Content\r\n"),
        (request(), 304, b"HTTP/1.1 304 Not Modified\r\n"),
        (put(), 204, b"HTTP/1.1 204 No Content\r\n"),
        (HEAD, 200, b"HTTP/1.1 200 OK\r\n"),
    ],
)
ANNOUNCED = pytest.mark.parametrize(
    ("announces", "carries"),
    [
        (b"Content-Length: %d\r\n" % len(FOREIGN), FOREIGN),
        (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(FOREIGN), FOREIGN)),
    ],
)


async def refused(proxy: Running, xero: Origin, raw: bytes) -> None:
    """What aiohttp's parser refuses together with the head is garbage, repeated by the rules of a reset."""
    reply = await proxy.ask(raw)
    told = "outcome_unknown" if raw == put() else "upstream_garbage"
    assert (reply.status, reply.class_, reply.attempts) == (502, told, len(xero.requests))
    assert b"foreign" not in reply.body
    xero.first, xero.later = OK, b""
    assert (await proxy.ask(put())).body == b"ok"


@BODILESS
@ANNOUNCED
async def test_body_where_there_is_none(
    raw: bytes, status: int, head: bytes, announces: bytes, carries: bytes
) -> None:
    """204, 304 and what answers HEAD end with their head: a body that they announce and carry is nobody's,
    and the connection is not used again. What aiohttp's parser takes for no HTTP leaves no answer.
    """
    xero = Origin(head + announces + b"\r\n" + carries)
    async with serving(xero.converse) as address, sidecar(str(address)) as proxy:
        if raw == HEAD or b"chunked" in announces:
            await refused(proxy, xero, raw)
        else:
            await served_once(proxy, xero, raw, status, b"")


@BODILESS
@ANNOUNCED
async def test_body_that_is_only_announced(
    raw: bytes, status: int, head: bytes, announces: bytes, carries: bytes
) -> None:
    """The connection is not used again, as what is announced may still come: in a segment of its own, or
    never.
    """
    for later in (carries, b""):
        xero = Origin(head + announces + b"\r\n", later)
        async with serving(xero.converse) as address, sidecar(str(address)) as proxy:
            await served_once(proxy, xero, raw, status, b"")


@BODILESS
async def test_body_that_nobody_announced(raw: bytes, status: int, head: bytes) -> None:
    """Bytes behind an answer without a body reach nobody; to HEAD they leave no answer."""
    xero = Origin(head + b"\r\n" + FOREIGN)
    async with serving(xero.converse) as address, sidecar(str(address)) as proxy:
        if raw == HEAD:
            await refused(proxy, xero, raw)
        else:
            await served_once(proxy, xero, raw, status, b"")


@pytest.mark.parametrize("carries", [b"", FOREIGN])
async def test_transfer_coding_of_http_1_0(carries: bytes) -> None:
    """Read as it is, and the connection is not used again, though its sender would keep it: it may see the
    end somewhere else.
    """
    head = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    xero = Origin(head + b"2\r\nok\r\n0\r\n\r\n" + carries)
    async with serving(xero.converse) as address, sidecar(str(address)) as proxy:
        await served_once(proxy, xero, put(), 200, b"ok")


WHOLE = pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\n\r\nok",
        b"Content-Length: 2\r\nConnection: close\r\n\r\nok",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 7\r\n\r\n",
    ],
)


BEHIND = pytest.mark.parametrize("behind", [b"\r\n", b"\r\n\r\n", b"more", FOREIGN])
CLOSES = pytest.mark.parametrize("closes", [False, True])


@WHOLE
@BEHIND
@CLOSES
async def test_later_bytes_behind_a_whole_answer(head: bytes, behind: bytes, *, closes: bool) -> None:
    """An empty line, or whatever else comes behind an answer that is complete, with or without the end of the
    connection: the write has succeeded after one send, and what came reaches nobody.
    """
    await succeeds(Origin(b"HTTP/1.1 200 OK\r\n" + head, behind, closes=closes))


@WHOLE
@CLOSES
@pytest.mark.parametrize("behind", [b"\r\n", b"\r\n\r\n"])
async def test_empty_lines_in_one_segment_with_a_whole_answer(
    head: bytes, behind: bytes, *, closes: bool
) -> None:
    """The same where they come at once."""
    await succeeds(Origin(b"HTTP/1.1 200 OK\r\n" + head + behind, closes=closes))


@WHOLE
@CLOSES
@pytest.mark.parametrize("behind", [b"more", FOREIGN])
async def test_bytes_in_one_segment_with_a_whole_answer(head: bytes, behind: bytes, *, closes: bool) -> None:
    """A success where aiohttp's parser has read the answer before it refuses them; else it refuses both, and
    nobody knows whether the write was executed: 502 `outcome_unknown`. It is sent once, they reach nobody.
    """
    xero = Origin(b"HTTP/1.1 200 OK\r\n" + head + behind, closes=closes)
    async with serving(xero.converse) as address, sidecar(str(address), idempotency="false") as proxy:
        reply = await proxy.ask(put())
        if behind == b"more" or b"close" in head:
            assert (reply.status, reply.class_) == (502, "outcome_unknown")
        else:
            assert (reply.status, reply.class_, reply.body) == (200, "success", b"ok")
        assert (reply.attempts, len(xero.requests)) == (1, 1)
        xero.first, xero.later = OK, b""
        assert (await proxy.ask(request())).body == b"ok"
        await is_well(proxy)


async def test_trailer_that_belongs_into_the_head() -> None:
    """aiohttp's parser refuses the whole answer: 502 `outcome_unknown`, after one send."""
    xero = Origin(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 7\r\n\r\n"
    )
    async with serving(xero.converse) as address, sidecar(str(address), idempotency="false") as proxy:
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_) == (502, "outcome_unknown")
        assert (reply.attempts, len(xero.requests)) == (1, 1)


async def succeeds(xero: Origin) -> None:
    async with serving(xero.converse) as address, sidecar(str(address), idempotency="false") as proxy:
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_, reply.body) == (200, "success", b"ok")
        assert (reply.attempts, len(xero.requests)) == (1, 1)
        await proxy.passes(2 * SEGMENT)
        xero.first, xero.later = OK, b""
        assert (await proxy.ask(request())).body == b"ok"
        await is_well(proxy)


@WHOLE
async def test_close_behind_a_whole_answer(head: bytes) -> None:
    """A success like any other, though its sender did not say that it would close."""
    xero = Origin(b"HTTP/1.1 200 OK\r\n" + head, closes=True)
    async with serving(xero.converse) as address, sidecar(str(address), idempotency="false") as proxy:
        await served_once(proxy, xero, put(), 200, b"ok")
