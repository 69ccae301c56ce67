"""What other processes do with the same limits wakes, holds and refuses those who wait here."""

from __future__ import annotations

import asyncio

from proxy.core.limits.decision import Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldChange
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import HoldKey, Scope
from tests.scheduling import Caller, World
from tests.strict_xero import OFFLINE, OK, Limits
from tests.watched import WatchedLoop, run_watched

ASK = Caller().ask


async def elsewhere(world: World) -> Permit:
    """A permit that another process holds."""
    permit = await world.memory.acquire(ASK)
    assert isinstance(permit, Permit)
    return permit


def test_room_that_another_process_makes_is_taken_at_once() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        held = await elsewhere(world)
        waits = asyncio.ensure_future(world.scheduler.acquire(world.ticket(Caller())))
        await world.until(3.0)
        assert not waits.done()
        await world.memory.settle(held, Settlement(OK, True, world.clock.now()))
        world.scheduler.released(ASK.app, ASK.tenant)
        assert isinstance(await waits, Permit)
        assert world.now == 3.0

    run_watched(main)


def test_effects_that_are_known_later_hold_and_refuse_like_any_others() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        held = await elsewhere(world)
        waits = asyncio.ensure_future(world.scheduler.acquire(world.ticket(Caller(wait=60.0))))
        await world.until(1.0)
        assert not world.scheduler.waiting(ASK)
        effects = await world.memory.settle(held, Settlement(OFFLINE, True, world.clock.now()))
        world.scheduler.settled(held, effects)
        assert await waits == Refusal(Why.HOPELESS, "offline", world.start + 301.0)
        assert [change.action for change, _ in world.changes] == [HoldAction.BEGUN]

    run_watched(main)


def test_others_wait_behind_whoever_asks() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        held = await elsewhere(world)
        callers = [asyncio.ensure_future(world.scheduler.acquire(world.ticket(Caller()))) for _ in range(2)]
        await world.until(1.0)
        assert world.scheduler.waiting(ASK)
        await world.memory.settle(held, Settlement(OK, True, world.clock.now()))
        world.scheduler.released(ASK.app, ASK.tenant)
        permit = await callers[0]
        assert not world.scheduler.waiting(ASK)
        assert isinstance(permit, Permit)
        await world.scheduler.settle(permit, Settlement(OK, True, world.clock.now()))
        assert isinstance(await callers[1], Permit)

    run_watched(main)


def test_a_hold_that_another_process_began_refuses_whoever_cannot_outwait_it() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        held = await elsewhere(world)
        waits = asyncio.ensure_future(world.scheduler.acquire(world.ticket(Caller(wait=60.0))))
        await world.until(1.0)
        effects = await world.memory.settle(held, Settlement(OFFLINE, True, world.clock.now()))
        world.scheduler.hold_changed(effects.holds[0])
        assert await waits == Refusal(Why.HOPELESS, "offline", world.start + 301.0)
        assert world.changes == []

    run_watched(main)


def test_a_hold_that_another_process_ended_lets_everybody_go() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        held = await elsewhere(world)
        await world.memory.settle(held, Settlement(OFFLINE, True, world.clock.now()))
        waits = asyncio.ensure_future(world.scheduler.acquire(world.ticket(Caller(wait=400.0))))
        await world.until(1.0)
        key = HoldKey(Scope.TENANT, app=ASK.app, tenant=ASK.tenant or "")
        assert await world.memory.clear(key)
        world.scheduler.hold_changed(HoldChange(HoldAction.ENDED, key, "offline", world.clock.now()))
        assert isinstance(await waits, Permit)
        assert world.now == 1.0

    run_watched(main)
