"""Replicas under contention: nothing over a limit, the limit used, and everybody served alike."""

from __future__ import annotations

import contextlib
from asyncio import TaskGroup, create_task, gather
from collections import Counter

from proxy.clock import Clock
from tests.replicas.fleet import (
    CONCURRENT,
    MINUTE,
    Load,
    ideal_seconds,
    most_in_window,
    replica,
    say,
    xero,
)
from tests.servers import Server

WINDOW = 12.0
REPLICAS, BACKLOG = 4, 600
REAPED_WITHIN = 10.0
"""Seconds from a replica's death to the return of its permits."""


async def test_four_replicas_use_the_limit_to_its_end_and_share_it_evenly(shared: Server) -> None:
    load = Load()
    async with xero(WINDOW) as world, contextlib.AsyncExitStack() as stack:
        fleet = [
            await stack.enter_async_context(replica(world.url, shared.url, WINDOW)) for _ in range(REPLICAS)
        ]
        async with TaskGroup() as group:
            for place, one in enumerate(fleet):
                group.create_task(load.backlog(f"r{place}", one, BACKLOG // REPLICAS))
        arrivals, seen = await world.arrivals(), (await world.ask())["tenants"]["t1"]
    took = arrivals[-1].at - arrivals[0].at
    used = ideal_seconds(BACKLOG, WINDOW) / took
    peaks = seen["peak_rolling"], seen["peak_concurrent"]
    minutes = [
        Counter(each.replica for each in arrivals[first : first + MINUTE])
        for first in range(0, BACKLOG - MINUTE, MINUTE)
    ]
    shares = [count / MINUTE for minute in minutes for count in minute.values()]
    spread = f"{min(shares):.3f} to {max(shares):.3f}"
    say(f"{used:.3f} of the limit in {took:.1f} s, peaks {peaks}, shares {spread}")
    assert load.answered == {200: BACKLOG}
    assert {each.status for each in arrivals} == {200}
    assert peaks == (MINUTE, CONCURRENT)
    assert most_in_window((each.at for each in arrivals), WINDOW) <= MINUTE
    assert used >= 0.97
    assert all(len(minute) == REPLICAS for minute in minutes)
    assert 0.20 <= min(shares) <= max(shares) <= 0.30


async def test_what_a_killed_replica_held_comes_back_within_ten_seconds(shared: Server) -> None:
    clock, load = Clock(), Load()
    async with xero(WINDOW) as world, contextlib.AsyncExitStack() as stack:
        fleet = [
            await stack.enter_async_context(replica(world.url, shared.url, WINDOW)) for _ in range(REPLICAS)
        ]
        lost = create_task(load.backlog("victim", fleet[0], BACKLOG // REPLICAS))
        while (await world.ask())["in_progress"] < CONCURRENT:
            await clock.sleep_until(clock.now() + 0.01)
        await fleet[0].kill()
        killed_at = (await world.ask())["now"]
        async with TaskGroup() as group:
            for one in fleet[1:]:
                group.create_task(load.backlog("other", one, MINUTE // REPLICAS))
        await lost
        arrivals, seen = await world.arrivals(), (await world.ask())["tenants"]["t1"]
    freed = min(each.at for each in arrivals if each.replica == "other") - killed_at
    peaks = seen["peak_rolling"], seen["peak_concurrent"]
    say(f"a killed replica held {CONCURRENT} permits; the next call came {freed:.1f} s later, peaks {peaks}")
    assert load.answered == {200: MINUTE // REPLICAS * (REPLICAS - 1)}
    assert {each.status for each in arrivals} == {200}
    assert peaks[0] <= MINUTE
    assert peaks[1] <= CONCURRENT
    assert freed <= REAPED_WITHIN


async def test_a_replica_that_is_killed_while_all_contend_takes_nothing_with_it(shared: Server) -> None:
    """The others have its part of each minute from then on, and nothing is ever over a limit."""
    clock, load = Clock(), Load()
    async with xero(WINDOW) as world, contextlib.AsyncExitStack() as stack:
        fleet = [
            await stack.enter_async_context(replica(world.url, shared.url, WINDOW)) for _ in range(REPLICAS)
        ]
        backlogs = [create_task(load.backlog(f"r{place}", one, MINUTE)) for place, one in enumerate(fleet)]
        while len(await world.arrivals()) < MINUTE * 3 // 2:
            await clock.sleep_until(clock.now() + 0.05)
        await fleet[0].kill()
        await gather(*backlogs)
        arrivals, seen = await world.arrivals(), (await world.ask())["tenants"]["t1"]
    used = ideal_seconds(len(arrivals), WINDOW) / (arrivals[-1].at - arrivals[0].at)
    peaks = seen["peak_rolling"], seen["peak_concurrent"]
    say(f"one of four killed in the middle: {used:.3f} of the limit, peaks {peaks}")
    assert load.answered[200] == load.answered.total()
    assert {name: load.statuses[name][200] for name in ("r1", "r2", "r3")} == dict.fromkeys(
        ("r1", "r2", "r3"), MINUTE
    )
    assert {each.status for each in arrivals} == {200}
    assert peaks[0] <= MINUTE
    assert peaks[1] <= CONCURRENT
    assert used >= 0.9
