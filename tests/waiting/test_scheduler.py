"""Who is admitted, who goes next, who is refused and when: examples in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from proxy.clock import Clock
from proxy.core.limits.decision import Ask, Permit, Settlement
from proxy.core.line.lines import Waiting
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import HoldKey, Limit, Scope
from proxy.waiting.scheduler import Scheduler
from tests.courses import SLOW, lasting, refusal
from tests.scheduling import Caller, Try, World
from tests.slow_store import SlowStore
from tests.strict_xero import OFFLINE, OK, REFUSED, Limits
from tests.watched import DUST, WatchedLoop, run_watched


def test_a_whole_minutes_share_goes_at_once_and_the_next_a_window_after_its_answer() -> None:
    _, courses = lasting(Limits(minute=3), *[Caller()] * 4)
    assert [course.granted for course in courses[:3]] == [[0.0]] * 3
    assert courses[3].granted[0] == pytest.approx(60.2, abs=0.1)


def test_the_two_hundredth_of_sixty_a_minute_is_told_at_once_when_it_could_have_run() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        patient = [asyncio.ensure_future(world.call(Caller(wait=600.0))) for _ in range(199)]
        await world.until(10.0)
        course = await world.call(Caller(at=10.0, wait=120.0))
        assert (course.refused_at, refusal(course).why) == (10.0, Why.HOPELESS)
        assert refusal(course).limit == Limit.MINUTE
        last = max([(await each).granted[0] for each in patient])
        assert last - 2.0 <= refusal(course).at - world.start <= last
        world.is_idle()

    run_watched(main)


def test_nobody_is_refused_on_arrival_whose_turn_comes_in_time() -> None:
    callers = [Caller(at=n / 100, wait=120.0) for n in range(200)]
    world, courses = lasting(Limits(), *callers)
    assert sum(bool(course.granted) for course in courses) == 160  # 60, 60 and who can wait for the third
    for course in filter(lambda course: course.refusal, courses):
        assert refusal(course).at - world.start > 120.0


def test_no_wait_at_all_takes_what_is_free_and_is_refused_otherwise() -> None:
    callers = [Caller(wait=0.0, tries=SLOW)] * 6
    _, courses = lasting(Limits(), *callers, Caller(at=1.0, wait=0.0), Caller(at=10.5, wait=0.0))
    assert [bool(course.granted) for course in courses] == [True] * 5 + [False, False, True]
    assert [refusal(courses[i]).why for i in (5, 6)] == [Why.DEADLINE] * 2
    assert [courses[i].refused_at for i in (5, 6)] == [0.0, 1.0]


def test_a_deadline_that_ends_a_wait_names_the_time_of_that_place_in_line() -> None:
    """Two more urgent ones overtook it, and one of them still stands before it."""
    urgent = Caller(at=0.2, urgency=0, wait=300.0)
    _, courses = lasting(Limits(minute=1), Caller(), Caller(at=0.1, urgency=7, wait=70.0), urgent, urgent)
    refused = refusal(courses[1])
    assert refused.why is Why.DEADLINE
    assert refused.at - courses[1].ticket.arrived == pytest.approx(180.5, abs=0.5)


def test_a_deadline_that_passed_on_the_way_here_costs_nobody_a_free_place() -> None:
    """Real clocks move on between a request's arrival and the look at its limits."""

    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        ticket = world.ticket(Caller(wait=0.0))
        await world.until(0.001)
        assert world.scheduler.admit(ticket) is None
        assert isinstance(await world.scheduler.acquire(ticket), Permit)

    run_watched(main)


def test_a_deadline_in_the_middle_of_a_wait_is_kept_to_the_moment() -> None:
    _, courses = lasting(Limits(concurrent=1), Caller(tries=SLOW), Caller(at=1.0, wait=4.0))
    assert refusal(courses[1]).why is Why.DEADLINE
    assert refusal(courses[1]).limit == Limit.CONCURRENT
    assert courses[1].refused_at == pytest.approx(5.0, abs=DUST)


def test_a_retry_whose_permit_would_come_too_late_is_refused_at_once() -> None:
    lost = Caller(wait=30.0, tries=(Try(REFUSED, out=1.0),))
    _, courses = lasting(Limits(minute=1), Caller(at=0.5, wait=70.0), lost)
    assert courses[1].granted == [0.0]
    assert courses[0].granted == [1.0]
    assert refusal(courses[1]).why is Why.HOPELESS
    assert courses[1].refused_at == pytest.approx(1.2)  # when the answer says when a place is free


@pytest.mark.parametrize(
    ("waiting", "refused"), [(Waiting(per_tenant=4, total=99), 2), (Waiting(per_tenant=99, total=6), 3)]
)
def test_queues_are_bounded_for_each_organisation_and_in_all(waiting: Waiting, refused: int) -> None:
    callers = [Caller(ask=Ask("app", name, "x"), body=1.0) for name in "aaaaaabbb"]
    _, courses = lasting(Limits(), *callers, waiting=waiting)
    assert [course.refusal.why for course in courses if course.refusal] == [Why.QUEUE_FULL] * refused


def test_who_has_a_permit_no_longer_counts_as_waiting() -> None:
    _, courses = lasting(Limits(), *[Caller(tries=SLOW)] * 8, waiting=Waiting(1, 1))
    assert Counter(bool(course.granted) for course in courses) == {True: 6, False: 2}
    later = [Caller(at=float(second), tries=SLOW) for second in range(5)]
    _, courses = lasting(Limits(), *later, waiting=Waiting(1, 1))
    assert all(course.granted for course in courses)


def test_waits_are_told_by_what_the_line_stood_for() -> None:
    _, courses = lasting(Limits(minute=2, concurrent=1), *[Caller(tries=SLOW, wait=600.0)] * 3)
    waits = [course.ticket.waited for course in courses]
    assert waits[0] == {}
    assert waits[1] == {Limit.CONCURRENT: pytest.approx(10.0)}
    assert waits[2] == {
        Limit.CONCURRENT: pytest.approx(20.0),
        Limit.MINUTE: pytest.approx(50.0, abs=0.1),
    }


def test_an_outdated_alarm_does_not_cut_a_wait_whose_deadline_is_later_by_now() -> None:
    """A retry under a new Idempotency-Key may be tried for longer than under the old one."""

    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        first = await world.scheduler.acquire(world.ticket(Caller()))
        assert isinstance(first, Permit)
        ticket = world.ticket(Caller(wait=5.0))
        waits = asyncio.ensure_future(world.scheduler.acquire(ticket))
        await world.until(1.0)
        await world.scheduler.settle(first, Settlement(OK, True, world.clock.now()))
        assert isinstance(await waits, Permit)
        ticket.deadline += 5.0
        assert isinstance(await world.scheduler.acquire(ticket), Refusal)
        assert world.now == pytest.approx(10.0)

    run_watched(main)


def test_the_snapshot_shows_each_line_and_what_it_waits_for() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(minute=1))
        calls = [asyncio.ensure_future(world.call(Caller(at=float(n)))) for n in range(3)]
        await world.until(5.0)
        (view,) = world.scheduler.snapshot().tenants
        assert (view.queued, view.oldest_seconds, view.blocked_by) == (2, 4.0, Limit.MINUTE)
        assert view.next_seconds == pytest.approx(55.2, abs=0.1)
        assert world.scheduler.snapshot().waiting == 2
        for call in calls:
            await call
        (view,) = world.scheduler.snapshot().tenants
        assert (view.queued, view.next_seconds) == (0, None)

    run_watched(main)


def test_a_permit_is_settled_once() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        granted = await world.scheduler.acquire(world.ticket(Caller()))
        assert isinstance(granted, Permit)
        settlement = Settlement(OK, True, world.clock.now())
        await world.scheduler.settle(granted, settlement)
        with pytest.raises(RuntimeError, match="twice"):
            await world.scheduler.settle(granted, settlement)

    run_watched(main)


def test_a_closed_scheduler_wakes_nobody() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, Limits(concurrent=1))
        await world.scheduler.acquire(world.ticket(Caller()))
        waits = asyncio.ensure_future(world.scheduler.acquire(world.ticket(Caller(wait=1.0))))
        await world.until(0.5)
        world.scheduler.close()
        await world.until(5.0)
        assert not waits.done()
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert not world.scheduler._futures

    run_watched(main)


def test_defaults_observe_nothing() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        scheduler = Scheduler(world.memory, Clock(loop), Waiting())
        assert isinstance(await scheduler.acquire(world.ticket(Caller())), Permit)

    run_watched(main)


@pytest.mark.parametrize(("wait", "answered_at"), [(60.0, 3.0), (0.9, 2.0)])
def test_an_end_that_comes_while_the_question_is_under_way_is_not_missed(
    wait: float, answered_at: float
) -> None:
    """Over a network the denial can arrive after the hold that it speaks of has ended."""

    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        inner = world.memory

        class Late:
            """Answers a second after it decided."""

            acquire_now = SlowStore.acquire_now
            forecast, view, clear, settle = inner.forecast, inner.view, inner.clear, inner.settle

            @staticmethod
            async def acquire(ask: Ask) -> object:
                decision = await inner.acquire(ask)
                await world.until(world.now + 1.0)
                return decision

        world.scheduler._store = Late()  # type: ignore[assignment] # as much of a store as is used here
        first = await world.scheduler.acquire(world.ticket(Caller()))
        assert isinstance(first, Permit)
        await world.scheduler.settle(first, Settlement(OFFLINE, True, world.clock.now()))
        world.clock.call_at(world.start + 1.5, lambda: clearing.append(loop.create_task(clear)))
        clear = world.scheduler.clear(HoldKey(Scope.TENANT, app="app", tenant="tenant"))
        clearing: list[asyncio.Task[bool]] = []
        ticket = world.ticket(Caller(wait=wait))
        ticket.known = True
        answer = await world.scheduler.acquire(ticket)
        assert await clearing[0]
        assert world.now == pytest.approx(answered_at)
        # Past its deadline nobody asks again, and is not told of a hold that is over.
        if wait >= 1.0:
            assert isinstance(answer, Permit)
        else:
            assert isinstance(answer, Refusal)
            assert answer.at == world.clock.now()

    run_watched(main)


@pytest.mark.parametrize(("wait", "prompt"), [(5.0, 5.0), (0.0, 1.0)])
def test_nothing_is_sent_after_its_deadline_though_nothing_stops_it(wait: float, prompt: float) -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        early, late = (world.ticket(Caller(wait=wait)) for _ in range(2))
        await world.until(prompt)
        assert isinstance(world.scheduler.take(early), Permit)
        await world.until(prompt + 0.1)
        assert world.scheduler.take(late) is None
        refused = await world.scheduler.acquire(late)
        assert isinstance(refused, Refusal)
        assert refused.why is Why.DEADLINE
        assert world.scheduler.snapshot().waiting == 0

    run_watched(main)


def test_a_permit_that_the_store_gives_after_the_deadline_is_given_back() -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop)
        inner = world.memory.acquire

        async def slowly(ask: Ask) -> object:
            decision = await inner(ask)
            await world.until(world.now + 9.0)
            return decision

        world.memory.acquire = slowly  # type: ignore[method-assign, assignment]
        refused = await world.scheduler.acquire(world.ticket(Caller(wait=5.0)))
        assert isinstance(refused, Refusal)
        assert refused.why is Why.DEADLINE
        (view,) = world.memory.view()[0]
        assert (view.in_flight, view.minute_remaining) == (0, view.minute_limit)

    run_watched(main)
