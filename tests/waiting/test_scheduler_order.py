"""Who goes next, who leaves, and who is turned away by a drain: examples in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from proxy.core.limits.decision import Ask, Permit, Settlement
from proxy.core.line.refusal import Why
from proxy.waiting.alarms import FEW
from tests.courses import SLOW, lasting, refusal
from tests.scheduling import ON_TURN, Caller, Try, World
from tests.strict_xero import OFFLINE, OK, REFUSED, Limits
from tests.watched import WatchedLoop, run_watched


def test_organisations_share_the_apps_limit_equally_however_long_their_lines() -> None:
    lines = {"a": 60, "b": 20, "c": 20}
    callers = [Caller(ask=Ask("app", name, "x"), wait=600.0) for name, n in lines.items() for _ in range(n)]
    world, _ = lasting(Limits(app_minute=10, concurrent=60), *callers)
    for end in range(10, 51, 10):  # the first ten went before anybody waited
        shares = Counter(ticket.ask.tenant for ticket in world.order[10 : 10 + end])
        assert max(shares.values()) - min(shares.values()) <= 1


def test_a_line_that_waited_for_its_own_limit_does_not_jump_the_apps_queue() -> None:
    callers = [Caller(ask=Ask("app", name, "x"), wait=900.0) for name in "abc" for _ in range(30)]
    world, _ = lasting(Limits(app_minute=9, concurrent=1), *callers)
    shares = Counter(ticket.ask.tenant for ticket in world.order[9:54])
    assert max(shares.values()) - min(shares.values()) <= 1


def test_calls_of_no_organisation_stand_in_the_apps_ring_too() -> None:
    callers = [Caller(ask=Ask("app", name, "x"), wait=600.0) for name in ("a", None) for _ in range(9)]
    world, _ = lasting(Limits(app_minute=4), *callers)
    assert Counter(ticket.ask.tenant for ticket in world.order[4:12]) == {"a": 4, None: 4}


def test_the_urgent_go_first_and_equals_in_order() -> None:
    one = Caller(tries=SLOW, wait=900.0)
    crowd = [replace(one, at=n / 10, urgency=urgency) for n, urgency in enumerate((3, 7, 3, 0, 7))]
    world, _ = lasting(Limits(concurrent=1), *crowd)
    arrived = [round(10 * (ticket.arrived - world.start)) for ticket in world.order]
    assert arrived == [0, 3, 2, 1, 4]


def test_a_long_wait_makes_up_for_urgency() -> None:
    patient = Caller(at=0.5, urgency=7, wait=900.0)
    urgent = [Caller(at=9.0 + 10 * n, urgency=0, wait=900.0, tries=SLOW) for n in range(12)]
    world, _ = lasting(Limits(concurrent=1), Caller(tries=SLOW), patient, *urgent)
    assert [ticket.urgency for ticket in world.order].index(7) == 8


def test_a_caller_that_leaves_the_line_spends_nothing_and_holds_up_nobody() -> None:
    leaving = Caller(at=1.0, leaves=2.0)
    world, courses = lasting(Limits(concurrent=1), Caller(tries=SLOW), leaving, Caller(at=1.5))
    assert (courses[1].granted, courses[1].refusal, courses[1].answered_at) == ([], None, 3.0)
    assert courses[2].granted == [10.0]
    assert len(world.order) == 2


def test_a_caller_that_leaves_in_the_moment_of_its_turn_passes_it_on() -> None:
    leaving = Caller(at=1.0, leaves=ON_TURN)
    _, courses = lasting(Limits(concurrent=1), Caller(tries=SLOW), leaving, Caller(at=1.5))
    assert courses[1].granted == []
    assert courses[2].granted == [10.0]


def test_a_caller_that_left_while_its_body_came_gets_none() -> None:
    world, courses = lasting(Limits(), Caller(body=2.0, leaves=1.0))
    assert courses[0].answers == 1
    assert not world.order


def test_a_permit_that_comes_after_its_caller_left_is_given_back() -> None:
    """With a store over a network the caller can leave while the question is under way."""

    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(minute=1), slow=1.0, seed=3)
        leaving, stays = world.ticket(Caller()), world.ticket(Caller())
        assert world.scheduler.admit(leaving) is None
        asked = asyncio.ensure_future(world.scheduler.acquire(leaving))
        world.clock.call_at(world.clock.now(), lambda: world.scheduler.caller_left(leaving))
        assert await asked is None
        granted = await world.scheduler.acquire(stays)
        assert isinstance(granted, Permit)
        await world.scheduler.settle(granted, Settlement(OK, True, world.clock.now()))
        world.is_idle()

    run_watched(main)


def test_a_permit_of_an_attempt_that_was_never_sent_serves_the_next_at_once() -> None:
    unsent = Caller(tries=(Try(REFUSED, out=2.0),), backoff=5.0)
    _, courses = lasting(Limits(minute=1), unsent, Caller(at=1.0))
    assert courses[1].granted == [2.0]


def test_a_drain_refuses_the_hopeless_at_once_and_the_others_at_its_end() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(minute=3, concurrent=1))
        crowd = [Caller(wait=600.0, tries=(Try(work=20.0),))] * 4
        calls = [asyncio.ensure_future(world.call(caller)) for caller in crowd]
        await world.until(1.0)
        world.scheduler.drain(world.start + 31.0)
        assert world.scheduler.snapshot().draining
        late = await world.call(Caller(at=1.0, wait=600.0))
        courses = [await call for call in calls]
        assert [len(course.granted) for course in courses] == [1, 1, 0, 0]
        assert {refusal(course).why for course in (*courses[2:], late)} == {Why.DRAINING}
        assert [course.refused_at for course in (*courses[2:], late)] == [31.0, 1.0, 1.0]
        world.is_idle()

    run_watched(main)


def test_a_retry_waits_no_longer_than_a_drain() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        retry = Caller(tries=(Try(REFUSED, out=5.0),), backoff=1.0, wait=600.0)
        call = asyncio.ensure_future(world.call(retry))
        world.clock.call_at(world.start + 1.0, lambda: world.scheduler.drain(world.start + 20.0))
        await world.until(5.5)
        assert isinstance(await world.scheduler.acquire(world.ticket(Caller())), Permit)
        course = await call
        assert (refusal(course).why, course.refused_at) == (Why.DRAINING, 20.0)

    run_watched(main)


def test_a_drain_counts_the_urgent_before_those_whom_they_overtake() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(minute=2, concurrent=1))
        crowd = [Caller(at=n / 10, wait=600.0, tries=SLOW, urgency=7) for n in range(4)]
        urgent = Caller(at=1.0, wait=600.0, urgency=0)
        calls = [asyncio.ensure_future(world.call(caller)) for caller in (*crowd, urgent)]
        await world.until(2.0)
        world.scheduler.drain(world.start + 32.0)
        courses = [await call for call in calls]
        assert [len(course.granted) for course in courses] == [1, 0, 0, 0, 1]
        world.is_idle()

    run_watched(main)


def test_an_hour_of_answered_requests_leaves_nothing_behind() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(minute=10**6, concurrent=1))
        blocked = Caller(ask=Ask("app", "blocked", "x"), wait=3600.0, tries=(Try(OFFLINE),))
        others = [Caller(at=n / 10, wait=3600.0) for n in range(2 * FEW)]
        await world.run(blocked, *others)
        assert len(world.scheduler._alarms._heap) <= world.scheduler._alarms._room <= 2 * FEW
        world.is_idle()

    run_watched(main)
