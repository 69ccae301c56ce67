"""The life of a call over HTTP, on a real socket, in virtual time."""

from __future__ import annotations

import io
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from proxy.simulator.server import Simulator
from tests.simulator.calls import API
from tests.simulator.sockets import Start, connect, exchange, head, write

pytestmark = pytest.mark.looptime


async def test_a_caller_that_leaves_undoes_nothing_and_frees_its_slot_at_the_end(start: Start) -> None:
    simulator = await start(latency=(5.0, 5.0), jitter=1.0)
    _, writer = await connect(simulator)
    writer.write(write())
    await simulator.clock.sleep_until(simulator.clock.now() + 0.001)
    writer.close()
    await simulator.clock.sleep_until(simulator.clock.now() + 2.0)
    assert [entry.executed for entry in simulator.ledger.entries] == [True]
    assert simulator.xero.in_progress() == 1
    await simulator.clock.sleep_until(simulator.clock.now() + 5.0)
    assert simulator.xero.in_progress() == 0


async def test_a_call_that_breaks_off_in_its_body_never_arrives(start: Start) -> None:
    simulator = await start()
    _, writer = await connect(simulator)
    writer.write(write()[:-3])
    await simulator.clock.sleep_until(simulator.clock.now() + 1.0)
    writer.close()
    await simulator.clock.sleep_until(simulator.clock.now() + 1.0)
    assert simulator.ledger.arrived == 0


async def test_latency_and_jitter_are_within_their_bounds(start: Start) -> None:
    simulator = await start(latency=(0.05, 0.3), jitter=0.15)
    spent = []
    for _ in range(30):
        began = simulator.clock.now()
        await exchange(simulator, head())
        spent.append(simulator.clock.now() - began)
    assert 0.05 <= min(spent) < max(spent) <= 0.46


async def test_expect_100_continue_is_answered(start: Start) -> None:
    simulator = await start()
    reader, writer = await connect(simulator)
    top, _, body = write(b'{"Name":"Eve"}', b"Expect: 100-continue").partition(b"\r\n\r\n")
    writer.write(top + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_a_body_of_any_size_goes_up_and_down(start: Start) -> None:
    simulator = await start()
    content = b"\x00\xff" * 4_000_000
    headers = {"Authorization": "Bearer any", "Xero-Tenant-Id": "t1", "Content-Type": "image/png"}
    url = f"{simulator.url}{API}/Invoices/one/Attachments/a.png"
    async with ClientSession(headers=headers) as session:
        async with session.put(url, data=io.BytesIO(content)) as uploaded:
            assert uploaded.status == 200
        async with session.get(url) as downloaded:
            assert await downloaded.read() == content
    assert simulator.xero.in_progress() == 0


async def test_a_connection_is_kept_for_many_calls(start: Start) -> None:
    simulator = await start(concurrent_limit=1)
    reader, writer = await connect(simulator)
    for _ in range(20):
        writer.write(head())
        top = await reader.readuntil(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 200 OK")
        length = next(int(f.split()[1]) for f in top.split(b"\r\n") if f.startswith(b"Content-Length"))
        await reader.readexactly(length)
    writer.close()


async def test_an_address_in_use_is_an_error(start: Start) -> None:
    port = urlsplit((await start()).url).port
    with pytest.raises(OSError, match="in use"):
        await Simulator().start("127.0.0.1", port or 0)
