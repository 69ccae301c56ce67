"""The server is killed, frozen, emptied, full or read-only under load: replicas go on and come back."""

from __future__ import annotations

import contextlib
import signal
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from proxy.clock import Clock
from tests.faults.processes import Process
from tests.replicas.fleet import CONCURRENT, MINUTE, Load, Xero, replica, say, xero
from tests.servers import Server

WINDOW = 4.0
REPLICAS, BACKLOG = 4, 240
BUSY_SECONDS, AWAY_SECONDS, BACK_SECONDS = 3.0, 5.0, 2.0
SHARE, SHARE_AT_ONCE = MINUTE // REPLICAS, max(1, CONCURRENT // REPLICAS)


@dataclass(slots=True)
class Scene:
    """A fleet under load."""

    server: Server
    world: Xero
    fleet: list[Process]
    clock: Clock

    async def rest(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)

    async def until_all(self, up: bool) -> float:
        """Wait until every replica says so; the seconds that it took."""
        began = self.clock.now()
        for one in self.fleet:
            while (await one.status())["store"]["up"] is not up:
                await self.rest(0.02)
        return self.clock.now() - began

    async def until_logged(self, event: str) -> None:
        for one in self.fleet:
            await one.logged(event)


@contextlib.asynccontextmanager
async def scene(server: Server) -> AsyncIterator[Scene]:
    async with xero(WINDOW) as world, contextlib.AsyncExitStack() as stack:
        fleet = [
            await stack.enter_async_context(replica(world.url, server.url, WINDOW)) for _ in range(REPLICAS)
        ]
        yield Scene(server, world, fleet, Clock())


async def killed_and_restarted(scene: Scene) -> None:
    scene.server.stop()
    await scene.until_all(up=False)
    await scene.rest(AWAY_SECONDS)
    scene.server.start()


async def frozen(scene: Scene) -> None:
    scene.server.signal(signal.SIGSTOP)
    await scene.rest(AWAY_SECONDS)
    scene.server.signal(signal.SIGCONT)


async def flushed(scene: Scene) -> None:
    scene.server.do("FLUSHALL")
    await scene.until_logged("store_away")


async def emptied_of_scripts(scene: Scene) -> None:
    scene.server.do("SCRIPT", "FLUSH")


async def cut_off(scene: Scene) -> None:
    scene.server.do("CLIENT", "KILL", "TYPE", "normal")
    scene.server.do("CLIENT", "KILL", "TYPE", "pubsub")
    await scene.until_logged("store_away")


async def full(scene: Scene) -> None:
    scene.server.do("CONFIG", "SET", "maxmemory", "1")
    await scene.until_all(up=False)
    await scene.rest(AWAY_SECONDS)
    scene.server.do("CONFIG", "SET", "maxmemory", "0")


async def read_only(scene: Scene) -> None:
    scene.server.do("CONFIG", "SET", "replica-serve-stale-data", "yes")
    scene.server.do("REPLICAOF", "127.0.0.1", "1")
    await scene.until_all(up=False)
    await scene.rest(AWAY_SECONDS)
    scene.server.do("REPLICAOF", "NO", "ONE")


FAULTS: list[tuple[Callable[[Scene], Awaitable[None]], set[str]]] = [
    (killed_and_restarted, {"lost"}),
    (frozen, {"timeout"}),
    (flushed, {"flushed"}),
    (emptied_of_scripts, set()),
    (cut_off, {"lost"}),
    (full, {"oom"}),
    (read_only, {"readonly"}),
]


@pytest.mark.parametrize(("fault", "reasons"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
async def test_replicas_outlast_a_server_that_is(
    fault: Callable[[Scene], Awaitable[None]], reasons: set[str], shared: Server
) -> None:
    load = Load()
    async with scene(shared) as world:
        async with TaskGroup() as group:
            for place, one in enumerate(world.fleet):
                group.create_task(load.backlog(f"r{place}", one, BACKLOG // REPLICAS))
            await world.rest(BUSY_SECONDS)
            await fault(world)
            back = await world.until_all(up=True)
        summary = await world.world.ask()
        said = [line["reason"] for one in world.fleet for line in one.lines if line["event"] == "store_away"]
    seen, refused = summary["tenants"]["t1"], summary["refused"]
    peaks = seen["peak_rolling"], seen["peak_concurrent"]
    say(f"{fault.__name__}: back after {back:.2f} s, peaks {peaks}, 429s {refused}, reasons {said}")
    assert load.answered == {200: BACKLOG}
    assert peaks[0] <= MINUTE + SHARE
    assert peaks[1] <= CONCURRENT + SHARE_AT_ONCE * (REPLICAS - 1)
    assert set(said) == reasons
    assert len(said) <= REPLICAS
    assert back < BACK_SECONDS
