"""What people use today to stay below the limit, written as their documentation shows it.

Each works off a backlog of calls until every one was answered with 200. Whoever has a limiter passes
it again before it repeats a call, and whoever gets a `Retry-After` sleeps that long, as the SDKs do. A
429 without one (too many at once) is tried again after a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from types import SimpleNamespace
from unittest import mock

import limits.aio
from aiolimiter import AsyncLimiter

from proxy.clock import Clock
from proxy.simulator.answers import Answer
from tests.bench.organisation import OK, Organisation

WORKERS = 5
PER_MINUTE = 60
PAUSE_SECONDS = 1.0
BACKOFF_FIRST, BACKOFF_LONGEST = 0.5, 60.0
SPACING_SECONDS = 1.0

Client = Callable[[Organisation, int, Random], Awaitable[None]]
Limit = Callable[[], Awaitable[None]]
Pause = Callable[[Answer, int], float]
"""Seconds to wait after a 429, from the answer and how many came before it for this call."""


async def sleeping(organisation: Organisation, calls: int, _random: Random) -> None:
    """An SDK that sleeps on `Retry-After`, a few workers."""
    await _work(organisation, calls, WORKERS, _unlimited, _as_told)


async def unbounded(organisation: Organisation, calls: int, _random: Random) -> None:
    """The same, all calls at once."""
    await _work(organisation, calls, calls, _unlimited, _as_told)


async def leaky_bucket(organisation: Organisation, calls: int, _random: Random) -> None:
    """aiolimiter, which takes the event loop's time."""
    limiter = AsyncLimiter(PER_MINUTE, 60)
    await _work(organisation, calls, WORKERS, limiter.acquire, _as_told)


async def moving_window(organisation: Organisation, calls: int, _random: Random) -> None:
    """`limits`, asynchronous and in memory. It takes `time.time`, which is the virtual clock here."""
    clock = organisation.clock
    with mock.patch("limits.aio.storage.memory.time", SimpleNamespace(time=clock.now)):
        limiter = limits.aio.strategies.MovingWindowRateLimiter(limits.aio.storage.MemoryStorage())
        item = limits.RateLimitItemPerMinute(PER_MINUTE)

        async def permit() -> None:
            while not await limiter.hit(item):
                reset = (await limiter.get_window_stats(item)).reset_time
                await clock.sleep_until(max(reset, clock.now() + 0.01))

        await _work(organisation, calls, WORKERS, permit, _as_told)


async def spaced(organisation: Organisation, calls: int, _random: Random) -> None:
    """One call a second."""
    clock = organisation.clock
    free_at = clock.now()

    async def permit() -> None:
        nonlocal free_at
        mine = max(free_at, clock.now())
        free_at = mine + SPACING_SECONDS
        await clock.sleep_until(mine)

    await _work(organisation, calls, WORKERS, permit, _as_told)


async def backing_off(organisation: Organisation, calls: int, random: Random) -> None:
    """Exponential backoff with full jitter, whatever the answer says."""

    def pause(_answer: Answer, refusals: int) -> float:
        return random.random() * min(BACKOFF_FIRST * 2.0**refusals, BACKOFF_LONGEST)

    await _work(organisation, calls, WORKERS, _unlimited, pause)


async def _work(organisation: Organisation, calls: int, workers: int, permit: Limit, pause: Pause) -> None:
    backlog = iter(range(calls))

    async def worker() -> None:
        for _ in backlog:
            await _until_answered(organisation, organisation.clock, permit, pause)

    await asyncio.gather(*(worker() for _ in range(workers)))


async def _until_answered(organisation: Organisation, clock: Clock, permit: Limit, pause: Pause) -> None:
    refusals = 0
    while True:
        await permit()
        answer = await organisation.call()
        if answer.status == OK:
            return
        await clock.sleep_until(clock.now() + pause(answer, refusals))
        refusals += 1


async def _unlimited() -> None:
    """Nothing to wait for."""


def _as_told(answer: Answer, _refusals: int) -> float:
    return float(dict(answer.headers).get(b"Retry-After", PAUSE_SECONDS))
