"""Callers: slow, many-headed or impatient"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.e2e.harness import Caller, put, request, sidecar
from tests.faults.meeting import is_well
from tests.faults.origin import Act, misbehaving

pytestmark = pytest.mark.looptime
LARGE = b"0123456789abcdef" * 500_000
LORISES = 100
BACKLOG = 20


async def refused(caller: Caller, status: int, name: str) -> None:
    """An answer before anything was sent, after which the connection ends."""
    reply = await caller.reply()
    assert (reply.status, reply.class_, reply.attempts, reply.wait) == (status, name, 0, None)
    assert reply.problem["Status"] == status
    assert await caller.reader.read() == b""


async def test_slow_loris_head() -> None:
    """408 `body_timeout` 20 s after the head's first byte, however steadily it drips in; a hundred of them
    hinder nobody.
    """
    async with misbehaving() as ledger, sidecar(str(ledger.address)) as proxy:

        async def loris() -> float:
            began = proxy.clock.now()
            async with proxy.caller() as caller:
                dripping = asyncio.create_task(drip(caller))
                await refused(caller, 408, "body_timeout")
                dripping.cancel()
            return proxy.clock.now() - began

        async def drip(caller: Caller) -> None:
            for byte in put():
                caller.writer.write(bytes([byte]))
                await proxy.passes(1.0)

        lorises = [asyncio.create_task(loris()) for _ in range(LORISES)]
        await proxy.passes(10.0)
        began = proxy.clock.now()
        assert (await proxy.ask(put())).status == 200
        assert proxy.clock.now() - began < 0.1
        assert all(20 <= seconds < 24 for seconds in await asyncio.gather(*lorises))
        assert len(ledger.requests) == 1
        await is_well(proxy, spent=1)
    assert [line["class"] for line in proxy.lines()].count("body_timeout") == LORISES


@pytest.mark.parametrize(
    ("field", "begun"),
    [
        (b"Content-Length: 100", b"half"),
        (b"Transfer-Encoding: chunked", b"64\r\nhalf"),
        (b"Content-Length: 9", b""),
    ],
)
async def test_stalled_body(field: bytes, begun: bytes) -> None:
    """408 `body_timeout` 30 s after its last byte. It holds no slot meanwhile, and nothing is sent."""
    async with misbehaving() as ledger, sidecar(str(ledger.address), tenant_concurrent_limit=1) as proxy:
        async with proxy.caller() as slow:
            slow.writer.write(request(b"PUT /stalled", field) + begun)
            await proxy.passes(20.0)
            began = proxy.clock.now()
            assert (await proxy.ask(put())).status == 200
            assert proxy.clock.now() == began
            await refused(slow, 408, "body_timeout")
            assert 10 <= proxy.clock.now() - began < 14
        assert ledger.executed("PUT", "/stalled") == len(ledger.requests) - 1 == 0
        await is_well(proxy, spent=1)
    assert proxy.lines()[1]["class"] == "body_timeout"


async def test_slow_reader() -> None:
    """Its slot is free as soon as Xero has delivered, what it has not read waits on disk, and it gets every
    byte; one that reads nothing at all for 5 minutes is cut off.
    """
    large = Act(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LARGE), LARGE))
    settings = {"tenant_concurrent_limit": 1}
    async with misbehaving(large, large, large) as ledger, sidecar(str(ledger.address), **settings) as proxy:
        async with proxy.caller() as slow, proxy.caller() as idle:
            slow.writer.write(request())
            await slow.reader.readuntil(b"\r\n\r\n")
            second = await proxy.ask(request(b"GET /other", b"Prefer: wait=5"))
            assert (second.status, second.body == LARGE) == (200, True)
            idle.writer.write(request())
            await proxy.passes(250.0)
            assert await slow.reader.readexactly(len(LARGE)) == LARGE
            await proxy.passes(60.0)
            with contextlib.suppress(ConnectionError):
                assert len(await idle.reader.read()) < len(LARGE)
        assert len(ledger.requests) == 3
        await is_well(proxy)
    ends = [(line["class"], line.get("gone_at", "")) for line in proxy.lines()]
    assert sorted(ends) == [("success", ""), ("success", ""), ("success", ""), ("success", "response")]


async def test_pipelining() -> None:
    """Requests sent in one go are executed one after the other, each once, and answered in their order."""
    async with misbehaving() as ledger, sidecar(str(ledger.address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(b"".join(request(b"PUT /%d" % each, body=b"{}") for each in range(BACKLOG)))
            for _ in range(BACKLOG):
                assert (await caller.reply()).status == 200
        assert [line.target for line in ledger.lines] == [f"/{each}" for each in range(BACKLOG)]
        await is_well(proxy, spent=BACKLOG)


@pytest.mark.parametrize("end", [b"\r\n", b""])
async def test_20_000_headers(end: bytes) -> None:
    """431 `invalid_request`, as soon as it is plain, and the connection ends; nothing is sent."""
    async with misbehaving() as ledger, sidecar(str(ledger.address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(request().removesuffix(b"\r\n") + b"A: b\r\n" * 20_000 + end)
            await refused(caller, 431, "invalid_request")
        assert ledger.requests == []
        await is_well(proxy, spent=0)
    assert proxy.lines()[0]["class"] == "invalid_request"
