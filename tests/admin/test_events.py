"""The event stream, and whoever is slow or gone, in virtual time over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest

from proxy.admin.events import INTERVAL_SECONDS, REST, WATCHERS_MAX
from proxy.admin.routes import IDLE_SECONDS, STALLED_SECONDS, Admin, AdminPort
from proxy.clock import Clock
from proxy.observe.steps import Steps
from tests.e2e.harness import both, request

pytestmark = pytest.mark.looptime


class Slowed(Clock):
    """A clock for work that takes time, which a loop in virtual time does not see: `spent` seconds so far."""

    def __init__(self) -> None:
        super().__init__()
        self.loops = Clock()
        self.spent = 0.0
        self.now = lambda: self.loops.now() + self.spent

    async def sleep_until(self, when: float) -> None:
        await self.loops.sleep_until(when - self.spent)


class Stage:
    """The admin port, and what its stream was asked to make."""

    def __init__(self) -> None:
        self.clock = Slowed()
        self.made: list[float] = []
        self.crashes: list[str] = []
        self.takes = 0.0
        self.padding = b""
        self.breaks = False
        self.admin = AdminPort(cast("Admin", self), self.crashes.append)
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.address}/events"

    def shown(self) -> Steps[bytes]:
        if self.breaks:
            raise RuntimeError("canary")
        self.made.append(self.clock.now())
        self.clock.spent += self.takes
        yield
        return b"%d%b" % (len(self.made), self.padding)

    status = shown

    async def passes(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    made.port = await made.admin.start("127.0.0.1", 0)
    yield made
    await made.admin.close()
    assert made.crashes == []


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as session:
        yield session


async def event(stream: aiohttp.ClientResponse) -> bytes:
    """The data of the next event."""
    text = await stream.content.readuntil(b"\n\n")
    assert text.startswith(b"data: ")
    return text.removeprefix(b"data: ").removesuffix(b"\n\n")


async def test_a_watcher_is_told_at_once_and_then_every_second(
    stage: Stage, client: aiohttp.ClientSession
) -> None:
    async with client.get(stage.url) as stream:
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
        assert [await event(stream) for _ in range(4)] == [b"1", b"2", b"3", b"4"]
    steps = [later - sooner for sooner, later in zip(stage.made, stage.made[1:], strict=False)]
    assert steps == pytest.approx([INTERVAL_SECONDS] * 3, abs=0.01)


async def test_all_watchers_are_told_the_same_which_is_made_once(
    stage: Stage, client: aiohttp.ClientSession
) -> None:
    async with client.get(stage.url) as one, client.get(stage.url) as other:
        for number in range(1, 6):
            assert await event(one) == await event(other) == b"%d" % number
    assert len(stage.made) == 5


async def test_while_nobody_watches_nothing_is_made(stage: Stage, client: aiohttp.ClientSession) -> None:
    await stage.passes(10)
    assert stage.made == []
    async with client.get(stage.url) as stream:
        await event(stream)
    await stage.passes(5)
    before = len(stage.made)
    await stage.passes(60)
    assert len(stage.made) == before <= 3


async def test_what_takes_long_to_make_is_made_less_often(
    stage: Stage, client: aiohttp.ClientSession
) -> None:
    stage.takes = 0.125
    async with client.get(stage.url) as stream:
        for _ in range(3):
            await event(stream)
    steps = [later - sooner for sooner, later in zip(stage.made, stage.made[1:], strict=False)]
    assert min(steps) >= stage.takes * REST


async def test_watchers_are_bounded_and_a_place_becomes_free(
    stage: Stage, client: aiohttp.ClientSession
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(client.get(stage.url)) for _ in range(WATCHERS_MAX + 1)]
        assert [stream.status for stream in streams] == [200] * WATCHERS_MAX + [503]
        streams[0].close()
        await stage.passes(3)
        async with client.get(stage.url) as stream:
            assert stream.status == 200


async def stalled(stage: Stage) -> asyncio.StreamWriter:
    """A watcher that never reads."""
    stage.padding = b"." * 16_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port, limit=1)
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(1)
    return writer


async def test_whoever_reads_nothing_gives_up_its_place(stage: Stage, client: aiohttp.ClientSession) -> None:
    idle = [await stalled(stage) for _ in range(WATCHERS_MAX)]
    async with client.get(stage.url) as stream:
        assert stream.status == 503
    await stage.passes(STALLED_SECONDS + 1)
    async with client.get(stage.url) as stream:
        assert stream.status == 200
    assert len(stage.made) == 2
    for writer in idle:
        writer.close()


async def test_stopping_waits_for_no_watcher(stage: Stage, client: aiohttp.ClientSession) -> None:
    idle = await stalled(stage)
    stage.padding = b""
    async with client.get(stage.url) as stream:
        began = stage.clock.now()
        await stage.admin.close()
        assert stage.clock.now() - began < 0.1
        with contextlib.suppress(aiohttp.ClientPayloadError):
            await stream.read()
    idle.close()


async def test_what_cannot_be_made_is_logged_by_its_place_alone_and_never_follows_half_an_answer(
    stage: Stage, client: aiohttp.ClientSession
) -> None:
    async with client.get(stage.url) as stream:
        await event(stream)
        stage.breaks = True
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()
    async with client.get(f"{stage.address}/status") as refused:
        assert (refused.status, (await refused.json())["detail"]) == (500, "The proxy failed.")
    assert [place.partition(":")[0] for place in stage.crashes] == ["RuntimeError at test_events.py"] * 2
    stage.crashes.clear()


@pytest.mark.parametrize(("path", "begun"), [("/status", 1), ("/", 500)])
async def test_whoever_takes_no_answer_loses_the_connection_in_time(
    path: str, begun: int, stage: Stage
) -> None:
    """It gets no other answer in the middle of a long one, and not all of very many short ones."""
    stage.padding = b"." * 16_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port, limit=1)
    writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() * 1000)
    await reader.readexactly(1)
    await stage.passes(STALLED_SECONDS + 1)
    with contextlib.suppress(ConnectionResetError):
        assert 0 < (await reader.read()).count(b"TTP/1.1 200 OK") <= begun
    writer.close()


async def test_whoever_sends_half_a_head_loses_the_connection_in_time(stage: Stage) -> None:
    """A line now and then does not prolong it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    began = stage.clock.now()
    writer.write(b"GET /livez HTTP/1.1\r\n")
    ended = asyncio.create_task(reader.read())
    while not ended.done():
        writer.write(b"X: y\r\n")
        await stage.passes(10)
    assert await ended == b""
    assert stage.clock.now() - began < IDLE_SECONDS + 11
    writer.close()


async def test_a_drain_is_shown_to_watchers_and_not_delayed_by_them(client: aiohttp.ClientSession) -> None:
    async with both({"latency": (5.0, 5.0)}, drain_seconds=30) as (proxy, _):
        async with client.get(f"http://127.0.0.1:{proxy.car.admin_port}/events") as stream:
            assert b'"state":"ready"' in await event(stream)
            flying = proxy.start(request())
            await proxy.passes(1.0)
            began = proxy.clock.now()
            stopping = asyncio.create_task(proxy.stop())
            while b'"state":"draining"' not in await event(stream):
                pass
            await stopping
            assert proxy.clock.now() - began < 4.1
        assert (await flying).status == 200
