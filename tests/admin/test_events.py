"""The event stream, in virtual time over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest

from proxy.admin.events import INTERVAL_SECONDS, REST, STALLED_SECONDS, WATCHERS_MAX, Events
from proxy.clock import Clock
from proxy.http.callers import Call, Downstream
from proxy.observe.steps import Steps
from tests.e2e.harness import both, request

pytestmark = pytest.mark.looptime


class Slowed:
    """A clock for work that takes time, which a loop in virtual time does not see: `spent` seconds so far."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.spent = 0.0

    def now(self) -> float:
        return self._clock.now() + self.spent

    async def sleep_until(self, when: float) -> None:
        await self._clock.sleep_until(when - self.spent)


class Stage:
    """The stream behind a server, and what it was asked to make."""

    def __init__(self) -> None:
        self.clock = Slowed()
        self.made: list[float] = []
        self.crashes: list[str] = []
        self.takes = 0.0
        self.padding = b""
        self.events = Events(self._render, cast("Clock", self.clock))
        self.downstream = Downstream(
            self._watch,
            lambda _kind, _detail, _method: (400, (), b""),
            clock=Clock(),
            crashed=self.crashes.append,
            write_timeout=STALLED_SECONDS,
        )
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    def _render(self) -> Steps[bytes]:
        self.made.append(self.clock.now())
        self.clock.spent += self.takes
        yield
        return b"%d%b" % (len(self.made), self.padding)

    async def _watch(self, call: Call) -> None:
        if watcher := self.events.watcher():
            fields = ((b"Content-Type", b"text/event-stream"),)
            await call.respond(200, b"OK", fields, rest=watcher)
        else:
            await call.respond(503, b"", ())

    async def passes(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    made.port = await made.downstream.start("127.0.0.1", 0)
    yield made
    await made.downstream.close()
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
        await stage.downstream.close()
        assert stage.clock.now() - began < 0.1
        with contextlib.suppress(aiohttp.ClientPayloadError):
            await stream.read()
    idle.close()


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
