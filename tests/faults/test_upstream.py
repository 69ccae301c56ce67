"""Upstream: answers that break off or never come"""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.clock import Clock
from tests.e2e.harness import put, request, sidecar
from tests.faults.meeting import CUT, RESET, TIMEOUT, is_well, logged, meets
from tests.faults.origin import Act, Then, misbehaving
from tests.sockets import OK, Converse, serving

pytestmark = pytest.mark.looptime
UPLOAD = 20_000_000


async def test_reset_before_the_head() -> None:
    """502 `upstream_reset`; a write without a key is told that its outcome is unknown and never sent again,
    one with the proxy's key is repeated under the same key.
    """
    await meets(Act(b"", Then.RESET), RESET)


async def test_closed_before_the_head() -> None:
    """As a reset."""
    await meets(Act(b"", Then.CLOSE), RESET)


async def test_closed_unread() -> None:
    """As a reset: nobody can know that nothing was executed."""
    await meets(Act(b"", Then.RESET, executes=False), RESET)


async def test_reset_inside_the_head() -> None:
    """502 `upstream_reset`: what had come before it is lost with the connection."""
    await meets(Act(b"HTTP/1.1 200 O", Then.RESET), RESET)


async def test_reset_after_the_head() -> None:
    """502 `upstream_truncated`: the caller gets no part of it, and what may be repeated is repeated."""
    await meets(Act(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Then.RESET), CUT)


@pytest.mark.parametrize("then", [Then.RESET, Then.CLOSE])
@pytest.mark.parametrize(
    "sends",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_truncated_in_a_small_body(sends: bytes, then: Then) -> None:
    """502 `upstream_truncated`, as the body is read whole before the caller gets its first byte."""
    await meets(Act(sends, then), CUT)


async def test_reset_in_a_body_without_a_length() -> None:
    """502 `upstream_truncated`: only a FIN ends such a body."""
    await meets(Act(b"HTTP/1.1 200 OK\r\n\r\nabc", Then.RESET), CUT)


@pytest.mark.parametrize("then", [Then.RESET, Then.CLOSE])
async def test_truncated_in_a_large_body(then: Then) -> None:
    """The caller, who has part of it already, sees its connection reset, never a clean end; it is sent once,
    and logged as `upstream_truncated`.
    """
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n%b\r\n5\r\nab" % (b"x" * 0x20000)
    async with misbehaving(Act(cut, then)) as ledger, sidecar(str(ledger.address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(put())
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await caller.reply()
        assert (len(ledger.requests), ledger.executed("PUT")) == (1, 1)
        await is_well(proxy, spent=1)
    line = proxy.lines()[0]
    assert (line["status"], line["class"]) == (200, "upstream_truncated")
    assert line["error"] == "http_response_incomplete"


async def test_never_answers() -> None:
    """504 `upstream_timeout` after `UPSTREAM_TIMEOUT_SECONDS`; a write is told that its outcome is unknown,
    and never repeated once its key may be forgotten.
    """
    await meets(Act(b"", Then.HANG), TIMEOUT, repeated=False)


async def test_stops_in_mid_body() -> None:
    """504 `upstream_timeout` at the same deadline as an answer that never comes. A minute after its head the
    call is Xero's no more.
    """
    stops = Act(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", Then.HANG)
    await meets(stops, TIMEOUT, repeated=False, spent=0)


def pausing(before: bytes, seconds: float, after: bytes, heads: list[bytes]) -> Converse:
    """An origin that pauses in its answer to a report, and answers all else at once."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = Clock()
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"GET /api.xro/2.0/Reports/"):
                writer.write(OK)
                continue
            heads.append(head)
            writer.write(before)
            await clock.sleep_until(clock.now() + seconds)
            writer.write(after)

    return converse


REPORT = request(b"GET /api.xro/2.0/Reports/ProfitAndLoss", b"Accept-Encoding: identity")


async def test_body_long_after_its_head() -> None:
    """200 after one send: `UPSTREAM_TIMEOUT_SECONDS` alone decides, and no shorter bound inside it."""
    for seconds in (75.0, 320.0):
        heads: list[bytes] = []
        late = pausing(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", seconds, b"report", heads)
        async with serving(late) as address, sidecar(str(address)) as proxy:
            reply = await proxy.ask(REPORT)
            assert (reply.status, reply.body, reply.attempts, len(heads)) == (200, b"report", 1, 1)
            await is_well(proxy)


async def test_pause_in_a_large_body() -> None:
    """What the caller has the beginning of may pause for as long as `UPSTREAM_TIMEOUT_SECONDS` each time,
    however long it takes in all; after a longer pause the caller's connection is reset.
    """
    beginning = b"HTTP/1.1 200 OK\r\nContent-Length: 100006\r\n\r\n" + b"x" * 100_000
    for seconds, whole in ((320.0, True), (340.0, False)):
        heads: list[bytes] = []
        pauses = pausing(beginning, seconds, b"report", heads)
        async with serving(pauses) as address, sidecar(str(address)) as proxy:
            try:
                reply = await proxy.ask(REPORT)
            except (ConnectionError, asyncio.IncompleteReadError):
                assert not whole
            else:
                assert (reply.status, reply.body[100_000:], whole) == (200, b"report", True)
            assert len(heads) == 1
            await is_well(proxy)


async def test_body_that_drips() -> None:
    """504 `upstream_timeout` at the same deadline as an answer that never comes, as long as the caller has
    nothing of it: drop by drop it would hold slot and caller for hours.
    """
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = Clock()
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /good "):
            writer.write(OK)
            return
        writer.write(head)
        for _ in range(60):
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await clock.sleep_until(clock.now() + 20.0)
        writer.write(b"0\r\n\r\n")

    async with serving(drip) as address, sidecar(str(address), retry_attempts=1) as proxy:
        began = proxy.clock.now()
        TIMEOUT.is_told_by(await proxy.ask(request()))
        assert 330 <= proxy.clock.now() - began < 332
        assert (await proxy.ask(request(b"GET /good"))).status == 200
    logged(proxy, "upstream_timeout", 1)


async def test_1xx_for_ever() -> None:
    """504 `upstream_timeout`: interim responses are swallowed and do not move the deadline."""
    await meets(Act(b"HTTP/1.1 102 Processing\r\n\r\n", Then.REPEAT), TIMEOUT, repeated=False)


async def test_half_open() -> None:
    """An upload that is no longer taken in (the origin stops reading, so the kernel's buffers fill) ends at
    the same deadline as one that is not answered: 504, its outcome unknown, its slot free again.
    """
    whole: list[bytes] = []

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET "):
            writer.write(OK)
            await reader.read()
        cast("asyncio.Transport", writer.transport).pause_reading()
        whole.append(await reader.readexactly(UPLOAD))

    settings = {"upstream_timeout_seconds": 90, "idempotency": "false"}
    async with serving(deaf) as address, sidecar(str(address), **settings) as proxy:
        began = proxy.clock.now()
        reply = await proxy.ask(put(b"x" * UPLOAD))
        assert 90 <= proxy.clock.now() - began < 92
        TIMEOUT.is_told_by(reply, "outcome_unknown")
        await is_well(proxy, spent=1)
    assert whole == []
    logged(proxy, "outcome_unknown", 1)
