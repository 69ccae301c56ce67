"""Callers: gone"""

from __future__ import annotations

import pytest

from tests.e2e.harness import Running, both, put, request, sidecar
from tests.faults.meeting import is_well
from tests.faults.origin import Act, Then, misbehaving

pytestmark = pytest.mark.looptime


async def is_empty(proxy: Running) -> None:
    """Within a second of a caller's leaving nobody waits any more."""
    await proxy.passes(1.0)
    assert (await proxy.status())["waiting"] == 0


async def test_gone_while_queued() -> None:
    """Removed from the line within a second; nothing is sent and no call spent."""
    async with (
        misbehaving(Act(after=10.0)) as ledger,
        sidecar(str(ledger.address), tenant_concurrent_limit=1) as proxy,
    ):
        busy = proxy.start(request(b"GET /busy"))
        await proxy.passes(1.0)
        async with proxy.caller() as caller:
            caller.writer.write(put())
            await proxy.passes(1.0)
            assert (await proxy.status())["waiting"] == 1
            caller.leave()
            await is_empty(proxy)
        assert (await busy).status == 200
        assert await proxy.count("client_disconnects_total", stage="queue") == 1
        await is_well(proxy, spent=1)
        assert ledger.executed("PUT") == 0
    left = proxy.lines()[0]
    assert (left["class"], left["attempts"], left["gone_at"]) == ("caller_left", 0, "queue")


async def test_gone_while_held() -> None:
    """As in the line: a hold that ends later finds nobody to send for."""
    offline = b"HTTP/1.1 503 Oh\r\nContent-Length: 27\r\n\r\nThe Organisation is offline"
    async with misbehaving(Act(offline, executes=False)) as ledger, sidecar(str(ledger.address)) as proxy:
        assert (await proxy.ask(put())).class_ == "refused_offline"
        async with proxy.caller() as caller:
            caller.writer.write(put(b"{}", b"Prefer: wait=900"))
            await proxy.passes(1.0)
            assert (await proxy.status())["waiting"] == 1
            caller.leave()
            await is_empty(proxy)
        await proxy.passes(400.0)
        assert (len(ledger.requests), ledger.lines) == (1, [])
        await is_well(proxy)


async def test_gone_between_attempts() -> None:
    """No further attempt is made."""
    busy = b"HTTP/1.1 429 Busy\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n"
    async with misbehaving(Act(busy, executes=False)) as ledger, sidecar(str(ledger.address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(put())
            await proxy.passes(5.0)
            caller.leave()
            await is_empty(proxy)
        await proxy.passes(60.0)
        assert (len(ledger.requests), ledger.lines) == (1, [])
        await is_well(proxy)


@pytest.mark.parametrize(
    ("field", "begun"),
    [
        (b"Content-Length: 100", b"half"),
        (b"Content-Length: 9000000", b"x" * 4_000_000),
        (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n"),
        (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n0\r\n"),
    ],
)
async def test_gone_in_mid_upload(field: bytes, begun: bytes) -> None:
    """Xero never sees a complete body: nothing is sent before all of it is here, and no call is spent."""
    async with misbehaving() as ledger, sidecar(str(ledger.address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(request(b"PUT /half", field) + begun)
            await caller.writer.drain()
            await proxy.passes(1.0)
            caller.leave()
            await is_empty(proxy)
        assert ledger.writers == []
        assert await proxy.count("client_disconnects_total", stage="body") == 1
        await is_well(proxy, spent=0)
    left = proxy.lines()[0]
    assert (left["class"], left["attempts"], left["gone_at"]) == ("caller_left", 0, "body")


async def test_gone_with_a_write_in_flight() -> None:
    """The write is finished, executed once and accounted for: its slot is taken until Xero has answered, its
    call is spent, and the log has its line.
    """
    async with both({"latency": (5.0, 5.0)}) as (proxy, simulator):
        async with proxy.caller() as caller:
            caller.writer.write(put())
            await proxy.passes(1.0)
            caller.leave()
        await proxy.passes(0.1)
        assert (await proxy.status())["tenants"][0]["in_flight"] == 1
        await proxy.passes(5.0)
        assert sum(simulator.ledger.writes.values()) == 1
        assert await proxy.count("attempts_total", **{"class": "success"}) == 1
        assert await proxy.count("client_disconnects_total", stage="upstream") == 1
        await is_well(proxy, spent=1)
    left = proxy.lines()[0]
    assert (left["class"], left["attempts"], left["gone_at"]) == ("caller_left", 1, "upstream")


async def test_gone_with_a_lost_write_in_flight() -> None:
    """A write whose outcome is unknown is not sent again for a caller who is not there to be told."""
    async with misbehaving(Act(b"", Then.RESET, after=5.0)) as ledger, sidecar(str(ledger.address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(put())
            await proxy.passes(1.0)
            caller.leave()
        await proxy.passes(60.0)
        assert (len(ledger.requests), ledger.executed("PUT")) == (1, 1)
        await is_well(proxy)


async def test_gone_with_more_requests_pipelined() -> None:
    """Only what was in hand is finished; what waited behind it is never sent."""
    async with misbehaving(Act(after=5.0)) as ledger, sidecar(str(ledger.address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(put() * 5)
            await proxy.passes(1.0)
            caller.leave()
        await proxy.passes(10.0)
        assert ledger.executed("PUT") == 1
        await is_well(proxy, spent=1)


async def test_gone_in_its_download() -> None:
    """The slot stays taken until Xero has delivered: the call is in progress there whoever has gone, and a
    slot given back too early would earn a 429.
    """
    async with both({"concurrent_limit": 1}, tenant_concurrent_limit=1) as (proxy, simulator):
        big = b'{"Name":"%s"}' % (b"x" * 200_000)
        assert (await proxy.ask(put(big))).status == 200
        simulator.fail_next(1, "slow_body")
        async with proxy.caller() as caller:
            caller.writer.write(request())
            await caller.reader.readuntil(b"\r\n\r\n")
            waiting = proxy.start(request())
            await proxy.passes(0.5)
            caller.leave()
        assert (await waiting).status == 200
        assert simulator.refused == {}
        await is_well(proxy)
