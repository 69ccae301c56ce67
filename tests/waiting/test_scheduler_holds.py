"""Who waits for a hold, who probes, who overtakes, and who is told at once: examples in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.limits.decision import Ask, Permit
from proxy.core.limits.holds import HoldAction
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import HoldKey, Limit, ResponseClass, Scope
from tests.crowd import ACCOUNTING, PATIENT, TENANT, TIMES, Crowd, held, until
from tests.scheduling import Caller, Try, World
from tests.strict_xero import LOST, MAINTENANCE, OFFLINE, OK, REFUSED, TOO_MANY, Limits
from tests.watched import WatchedLoop, run_watched


def test_exactly_one_probe_goes_after_a_hold_and_all_after_its_success() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[PATIENT] * 25)
        assert await crowd.at(300.9) == []
        assert await crowd.at(301.1) == [1]
        assert await crowd.at(305.9) == []
        assert sorted(await crowd.settle(1, OK)) == list(range(2, 26))

    held(body)


def test_after_a_probe_that_fails_the_others_stay_until_the_next() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[PATIENT] * 25)
        assert await crowd.at(301.1) == [1]
        assert await crowd.settle(1, OFFLINE) == []
        assert await crowd.at(600.0) == []
        assert await crowd.at(602.0) == [2]
        assert not any(crowd.waits[number].done() for number in range(3, 26))

    held(body)


def test_a_get_is_the_probe_before_an_earlier_post() -> None:
    async def body(crowd: Crowd) -> None:
        posts = [Caller(wait=3000.0, safe=False)] * 3
        await crowd.join(*posts, PATIENT, *posts)
        assert await crowd.at(302.0) == [4]
        assert await crowd.settle(4, OK) == [1, 2, 3, 5, 6, 7]

    held(body)


def test_a_post_is_the_probe_where_nobody_gets() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[Caller(wait=3000.0, safe=False)] * 2)
        assert await crowd.at(302.0) == [1]

    held(body)


@pytest.mark.parametrize(("row", "sent"), [(LOST, True), (REFUSED, False)])
def test_a_probe_that_shows_nothing_lets_exactly_one_other_probe(row: ResponseClass, sent: bool) -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[Caller(wait=3000.0, safe=number > 1) for number in range(5)])
        assert await crowd.at(302.0) == [3]
        assert await crowd.settle(3, row, sent=sent) == [4]
        assert await crowd.at(306.9) == []
        assert await crowd.settle(4, OK) == [1, 2, 5]

    held(body)


def test_a_probe_whose_caller_leaves_in_the_moment_of_its_turn_passes_it_to_the_next_get() -> None:
    async def body(crowd: Crowd) -> None:
        world = crowd.world
        post, first, second = (world.ticket(Caller(wait=3000.0, safe=safe)) for safe in (False, True, True))
        world.leave_on_turn.add(first)
        for ticket in (post, first, second):
            assert world.scheduler.admit(ticket) is None
        waits = [asyncio.ensure_future(world.scheduler.acquire(each)) for each in (post, first, second)]
        await world.until(302.0)
        assert [wait.done() for wait in waits] == [False, True, True]
        assert waits[1].result() is None
        assert isinstance(waits[2].result(), Permit)
        waits[0].cancel()

    held(body)


def test_a_new_hold_refuses_at_once_whoever_cannot_outwait_it_and_says_when_it_ends() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1), times=TIMES)
        first = Caller(tries=(Try(OFFLINE, out=1.0, work=1.0, back=1.0),), wait=60.0)
        others = [Caller(at=0.5, wait=wait) for wait in (60.0, 302.0, 304.0, 120.0)]
        courses = await world.run(first, *others)
        assert [len(course.granted) for course in courses] == [1, 0, 0, 1, 0]
        for course in (courses[0], courses[1], courses[2], courses[4]):
            assert course.refusal == Refusal(Why.HOPELESS, "offline", world.start + 303.0)
            assert course.refused_at == 3.0
        world.is_idle()

    run_watched(main)


def test_whoever_comes_back_to_a_held_line_is_told_at_once_too() -> None:
    """Its body took long, or its attempt brought the hold: nobody told it while it did not stand there."""

    async def body(crowd: Crowd) -> None:
        await crowd.join(PATIENT)
        retry = crowd.world.ticket(Caller(wait=60.0))
        granted = await crowd.world.scheduler.acquire(retry)
        assert granted == Refusal(Why.HOPELESS, "offline", crowd.world.start + 301.0)

    held(body)


def test_other_apis_overtake_those_who_wait_for_a_held_one() -> None:
    async def body(crowd: Crowd) -> None:
        files = Caller(ask=Ask("app", "tenant", "files"), wait=600.0)
        await crowd.join(PATIENT, PATIENT, files, files)
        assert sorted(crowd.granted) == [0, 3, 4]
        end = until(crowd, ACCOUNTING)
        assert await crowd.at(end - 0.1) == []
        assert await crowd.at(end + 0.1) == [1]
        assert await crowd.settle(1, OK) == [2]

    held(body, MAINTENANCE)


def test_those_who_wait_for_a_held_api_make_nobody_hopeless_whom_they_do_not_delay() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[PATIENT] * 60)
        await crowd.join(Caller(ask=Ask("app", "tenant", "files"), wait=1.0))
        assert sorted(crowd.granted) == [0, 61]

    held(body, MAINTENANCE)


def test_a_drain_refuses_nobody_for_the_sake_of_those_who_wait_for_a_held_api() -> None:
    async def body(crowd: Crowd) -> None:
        files = Caller(ask=Ask("app", "tenant", "files"), wait=600.0)
        await crowd.join(PATIENT, PATIENT, files, files)
        crowd.world.scheduler.drain(crowd.world.start + 60.0)
        await crowd.at(2.0)
        assert [crowd.waits[number].done() for number in (1, 2, 3, 4)] == [False, False, True, False]
        assert await crowd.settle(3, OK) == [4]

    held(body, MAINTENANCE, Limits(concurrent=1, minute=3))


def test_an_api_hold_stops_and_is_probed_for_a_thousand_organisations_by_one() -> None:
    async def body(crowd: Crowd) -> None:
        asks = [Ask("app", f"tenant {number}", "accounting") for number in range(1000)]
        posts = [Caller(ask=ask, wait=600.0, safe=ask.tenant == "tenant 700") for ask in asks]
        await crowd.join(*posts)
        assert sorted(crowd.granted) == [0]
        end = until(crowd, ACCOUNTING)
        assert await crowd.at(end + 0.1) == [701]
        assert await crowd.settle(701, MAINTENANCE) == []
        again = until(crowd, ACCOUNTING)
        assert await crowd.at(again + 0.1) == [1]
        assert len(await crowd.settle(1, OK)) == 998

    held(body, MAINTENANCE)


def test_where_no_line_can_probe_the_first_that_can_ask_does() -> None:
    """The only waiting line has a limit of its own to wait for when the hold ends."""

    async def body(crowd: Crowd) -> None:
        files = Caller(ask=Ask("app", "tenant", "files"), wait=600.0)
        await crowd.join(PATIENT, PATIENT, files, files)
        assert sorted(crowd.granted) == [0, 3]
        end = until(crowd, ACCOUNTING)
        assert await crowd.at(end + 1.0) == []
        assert await crowd.settle(3, OK) == [1]
        assert await crowd.settle(1, OK) == [2]

    held(body, MAINTENANCE, Limits(concurrent=1))


def test_a_probe_that_meets_another_limit_passes_its_turn_to_another_line() -> None:
    async def body(crowd: Crowd) -> None:
        busy, other = Ask("app", "busy", "accounting"), Ask("app", "other", "accounting")
        await crowd.join(Caller(ask=Ask("app", "busy", "files"), wait=600.0))
        await crowd.join(Caller(ask=busy, wait=600.0), Caller(ask=other, wait=600.0))
        end = until(crowd, ACCOUNTING)
        assert await crowd.at(end + 0.1) == [3]
        assert await crowd.settle(3, OK) == []
        assert await crowd.settle(1, OK) == [2]

    held(body, MAINTENANCE, Limits(concurrent=1))


def test_a_pause_without_a_probe_lets_all_go_at_its_end() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[PATIENT] * 4)
        assert await crowd.at(1.2) == []
        assert await crowd.at(1.3) == [1, 2, 3, 4]

    held(body, TOO_MANY[Limit.CONCURRENT])


def test_an_operator_can_end_a_hold_and_everybody_goes() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[PATIENT] * 3)
        assert await crowd.world.scheduler.clear(HoldKey(Scope.APP, app="app")) is False
        assert await crowd.world.scheduler.clear(TENANT) is True
        assert await crowd.at(2.0) == [1, 2, 3]
        assert [change.action for change, _ in crowd.world.changes] == [HoldAction.BEGUN, HoldAction.CLEARED]
        assert [seconds for _, seconds in crowd.world.changes] == [300.0, 0.0]

    held(body)
