"""A crowd that waits for a hold, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from proxy.core.limits.decision import Permit, Settlement
from proxy.core.limits.holds import HoldTimes
from proxy.core.line.refusal import Refusal
from proxy.core.model import HoldKey, ResponseClass, Scope
from tests.scheduling import Caller, World
from tests.strict_xero import OFFLINE, Limits
from tests.watched import WatchedLoop, run_watched

TIMES = HoldTimes(offline=300.0, backoff=8.0, backoff_max=64.0)
TENANT = HoldKey(Scope.TENANT, app="app", tenant="tenant")
ACCOUNTING = HoldKey(Scope.API, api="accounting")
PATIENT = Caller(at=1.0, wait=3000.0)


class Crowd:
    """Tickets that wait, and the permits they got."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waits: dict[int, asyncio.Task[Permit | Refusal | None]] = {}
        self.granted: dict[int, Permit] = {}

    async def join(self, *callers: Caller) -> None:
        for caller in callers:
            number = len(self.waits)
            ticket = self.world.ticket(caller)
            assert self.world.scheduler.admit(ticket) is None
            self.waits[number] = asyncio.ensure_future(self.world.scheduler.acquire(ticket))
            self.waits[number].add_done_callback(partial(self._answered, number))
        await self.world.until(self.world.now + 0.001)

    async def at(self, seconds: float) -> list[int]:
        """Who was granted since the last time, as of `seconds`."""
        before = set(self.granted)
        await self.world.until(seconds)
        return [number for number in self.granted if number not in before]

    async def settle(self, number: int, row: ResponseClass, *, sent: bool = True) -> list[int]:
        """Answer a permit; who is granted in that moment."""
        before = set(self.granted)
        settlement = Settlement(row, sent, self.world.clock.now())
        await self.world.scheduler.settle(self.granted[number], settlement)
        await self.world.until(self.world.now + 0.001)
        return [number for number in self.granted if number not in before]

    def _answered(self, number: int, wait: asyncio.Task[Permit | Refusal | None]) -> None:
        if not wait.cancelled() and isinstance(permit := wait.result(), Permit):
            self.granted[number] = permit

    @contextmanager
    def dismissed(self) -> Iterator[None]:
        """At the end all go home, and nothing is left."""
        yield
        for wait in self.waits.values():
            wait.cancel()


def held(
    body: Callable[[Crowd], Awaitable[None]], row: ResponseClass = OFFLINE, limits: Limits | None = None
) -> None:
    """Run `body` where number 0 has just been answered with `row` at second 1."""

    async def main(loop: WatchedLoop) -> None:
        world = World(loop, limits or Limits(concurrent=50), times=TIMES)
        crowd = Crowd(world)
        with crowd.dismissed():
            await crowd.join(Caller())
            await world.until(1.0)
            await crowd.settle(0, row)
            await body(crowd)

    run_watched(main)


def until(crowd: Crowd, key: HoldKey) -> float:
    hold = crowd.world.memory._limits.holds.active.get(key)
    assert hold is not None
    return hold.until - crowd.world.start
