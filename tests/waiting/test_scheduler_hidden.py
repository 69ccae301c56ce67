"""A hold that ends before something else lets a request go: who is told so at once, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proxy.core.limits.decision import Permit, Settlement
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import Execution, HoldRule, Remaining, ResponseClass, Scope
from tests.scheduling import Caller, World
from tests.strict_xero import Limits
from tests.watched import WatchedLoop, run_watched

DAY_SPENT = ResponseClass("limit_day", Execution.REJECTED, HoldRule(Scope.TENANT, "day", "retry_after"))
Wait = asyncio.Task[Permit | Refusal | None]


def spent(body: Callable[[World, Wait, Wait], Awaitable[None]]) -> None:
    """Run `body` at second 1, when two requests, patient for 30 and 120 s, wait behind a call that has been
    told to come back in 10 s for its day. All calls of the minute are spent too, nearly all by others, who
    knows when.
    """

    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        first = await world.scheduler.acquire(world.ticket(Caller()))
        assert isinstance(first, Permit)
        waits = [
            asyncio.ensure_future(world.scheduler.acquire(world.ticket(Caller(wait=wait))))
            for wait in (30.0, 120.0)
        ]
        await world.until(1.0)
        now = world.clock.now()
        answer = Settlement(DAY_SPENT, True, now, Remaining(minute=0), retry_after=10.0)
        await world.scheduler.settle(first, answer)
        await world.until(1.1)
        await body(world, *waits)
        for wait in waits:
            wait.cancel()

    run_watched(main)


def is_told_of_the_minute(world: World, refusal: Permit | Refusal | None) -> bool:
    return (
        isinstance(refusal, Refusal)
        and (refusal.why, refusal.limit) == (Why.HOPELESS, "minute")
        and 61.0 < refusal.at - world.start < 61.1
    )


def test_a_new_hold_refuses_at_once_whoever_cannot_outwait_what_it_hides() -> None:
    async def body(world: World, hasty: Wait, patient: Wait) -> None:
        assert is_told_of_the_minute(world, hasty.result())
        await world.until(61.0)
        assert not patient.done()
        await world.until(61.1)
        assert isinstance(patient.result(), Permit)

    spent(body)


def test_whoever_comes_back_first_to_a_held_line_is_told_what_the_hold_hides() -> None:
    async def body(world: World, _hasty: Wait, patient: Wait) -> None:
        patient.cancel()
        await world.until(1.2)
        retry = world.ticket(Caller(wait=30.0))
        retry.known = True
        assert is_told_of_the_minute(world, await world.scheduler.acquire(retry))
        assert world.now < 2.0

    spent(body)
