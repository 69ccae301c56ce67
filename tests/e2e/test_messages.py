"""What becomes of the parts of a message that a proxy may not simply copy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest

from proxy.clock import Clock
from tests.e2e.harness import Running, both, request, sidecar
from tests.sockets import Close, origin, reset_on_close, serving

pytestmark = pytest.mark.looptime

BIG = b"0123456789abcdef" * 20_000
CUT = b"fedcba9876543210" * 1_000
FRAMINGS = {
    "length": (b"Content-Length: 9000000\r\n", b"%b"),
    "chunked": (b"Transfer-Encoding: chunked\r\n", b"30d400\r\n%b"),
    "until close": (b"", b"%b"),
}


async def test_interim_answers_are_swallowed_and_only_the_final_one_is_passed_on() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
    final = b"HTTP/1.1 200 OK\r\nX-Final: 1\r\nContent-Length: 2\r\n\r\nok"
    async with origin(interim + final) as seen, sidecar(str(seen.address)) as proxy, proxy.caller() as caller:
        for _ in range(2):
            reply = await caller.ask(request())
            assert (reply.status, reply.body, reply.field(b"x-final")) == (200, b"ok", b"1")
            assert reply.field(b"link") is None
    assert (len(seen.requests), seen.connections) == (2, 1)


async def test_empty_lines_before_a_message_are_skipped_however_they_arrive() -> None:
    interim = b"\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
    answer = interim + b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\r\n"

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for byte in answer:
                writer.write(bytes([byte]))
                await Clock().sleep_until(0)

    async with serving(converse) as address, sidecar(str(address)) as proxy, proxy.caller() as caller:
        assert (await caller.ask(b"\r\n\r\n" + request())).body == b"\r\n"
        for byte in b"\r\n\r\n" + request():
            caller.writer.write(bytes([byte]))
            await Clock().sleep_until(0)
        assert (await caller.reply()).body == b"\r\n"


async def test_empty_lines_do_not_keep_a_connection_open() -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy, proxy.caller() as caller:
        for _ in range(10):
            caller.writer.write(b"\r\n")
            await proxy.passes(30)
        assert caller.reader.at_eof()


async def test_trailers_are_dropped_both_ways() -> None:
    head = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    chunks = b"4;a=b\r\nbody\r\n0\r\nX-Sum: 2\r\n\r\n"
    async with origin(answer) as seen, sidecar(str(seen.address)) as proxy, proxy.caller() as caller:
        for _ in range(2):
            asked = request(b"POST /", b"Trailer: X-Sum", b"Transfer-Encoding: chunked") + chunks
            reply = await caller.ask(asked)
            assert (reply.body, reply.field(b"content-length"), reply.field(b"trailer")) == (
                b"ok",
                b"2",
                None,
            )
    for sent in seen.requests:
        assert sent.endswith(b"Content-Length: 4\r\n\r\nbody")
        assert b"x-sum" not in sent.lower()


@pytest.mark.parametrize(
    "field",
    [b"Content-Length: 9", b"Host: x", b"Transfer-Encoding: chunked", b"Authorization: x", b"Bad : x"],
)
async def test_a_trailer_that_would_change_the_message_is_refused_and_nothing_sent(field: bytes) -> None:
    chunks = b"4\r\nbody\r\n0\r\n" + field + b"\r\n\r\n"
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(request(b"POST /", b"Transfer-Encoding: chunked") + chunks)
    assert (reply.status, seen.requests) == (400, [])


async def test_a_body_that_came_with_its_head_is_not_asked_for() -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy, proxy.caller() as caller:
        reply = await caller.ask(request(b"POST /", b"Expect: 100-continue", body=b"body"))
        assert reply.status == 200
    assert seen.requests[0].endswith(b"body")


async def test_another_expectation_is_refused() -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        assert (await proxy.ask(request(b"POST /", b"Expect: 200-ok", body=b"body"))).status == 417
    assert seen.requests == []


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=0"), 429),
        (request(b"TRACE /"), 405),
        (request(b"GET /", b"Host: example.com"), 421),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_an_answer_of_the_proxys_own_has_one_date(asked: bytes, status: int) -> None:
    async with both({"latency": (30.0, 30.0)}, tenant_concurrent_limit=1) as (proxy, _):
        busy = proxy.start(request())
        await proxy.passes(1.0)
        reply = await proxy.ask(asked)
        await busy
    (date,) = [value for name, value in reply.headers if name.lower() == b"date"]
    assert reply.status == status
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - Clock().wall()) < 60


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_answer_cut_after_it_began_ends_in_a_reset_or_short_of_its_length(
    framing: str, version: bytes
) -> None:
    """A caller of HTTP/1.0 is told the end of a body by the end of the connection: it must not look clean."""
    async with breaking(framing) as (proxy, cut), proxy.caller() as caller:
        caller.writer.write(request().replace(b"HTTP/1.1", b"HTTP/" + version))
        head = await caller.reader.readuntil(b"\r\n\r\n")
        await caller.reader.readexactly(100_000)
        cut.set()
        clean, rest = False, b""
        with contextlib.suppress(ConnectionError):
            rest = await caller.reader.read()
            clean = True
        assert not clean or (b"Content-Length: 9000000" in head and len(rest) < 9_000_000)
    (line,) = proxy.lines()
    assert (line["status"], line["error"]) == (200, "http_response_incomplete")


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Len",
    ],
)
async def test_a_small_answer_that_is_cut_is_a_502_and_never_a_short_200(cut: bytes) -> None:
    async with origin(Close(cut)) as seen, sidecar(str(seen.address), retry_attempts=1) as proxy:
        reply = await proxy.ask(request())
    assert (reply.status, reply.class_) == (502, "upstream_truncated")


@contextlib.asynccontextmanager
async def breaking(framing: str) -> AsyncIterator[tuple[Running, asyncio.Event]]:
    """A sidecar before an origin whose answer is reset in its middle when the event is set."""
    fields, body = FRAMINGS[framing]
    cut = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + body % BIG)
        await writer.drain()
        await cut.wait()
        writer.write(CUT)
        await writer.drain()
        await Clock().sleep_until(Clock().now() + 1)
        reset_on_close(writer.get_extra_info("socket"))
        writer.transport.abort()

    async with serving(converse) as address, sidecar(str(address)) as proxy:
        yield proxy, cut
