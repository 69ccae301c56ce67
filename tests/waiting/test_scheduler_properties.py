"""What must hold for any callers, any network and any windows. See `tests/scheduling.py`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.decision import Ask
from proxy.core.limits.holds import HoldTimes
from proxy.core.line.refusal import Why
from proxy.core.model import Limit, ResponseClass
from tests.scheduling import ON_TURN, Caller, Course, Try, World
from tests.strict_xero import GATEWAY, LOST, MAINTENANCE, OFFLINE, OK, REFUSED, Limits
from tests.watched import WatchedLoop, run_watched

ALL = (OK, OK, REFUSED, LOST, OFFLINE, MAINTENANCE, GATEWAY)
TIMES = HoldTimes(offline=20.0, backoff=0.5, backoff_max=8.0)

seconds = st.one_of(st.sampled_from((0.0, 0.05, 0.3, 1.0, 5.0)), st.floats(0.0, 5.0))
asks = st.builds(
    Ask,
    st.sampled_from(("a", "a", "b")),
    st.sampled_from(("t1", "t2", "t3", None)),
    st.sampled_from(("accounting", "files")),
)
limits = st.builds(
    Limits,
    minute=st.integers(1, 5),
    app_minute=st.integers(2, 12),
    concurrent=st.integers(1, 3),
    phase=st.none() | st.floats(0.0, 60.0),
)


def callers(
    rows: tuple[ResponseClass, ...] = ALL, *, leaving: bool = True
) -> st.SearchStrategy[list[Caller]]:
    moments = st.integers(0, 200).map(lambda halves: halves / 2)
    leaves = st.none() | st.just(ON_TURN) | moments if leaving else st.none()
    fates = st.lists(st.builds(Try, st.sampled_from(rows), seconds, seconds, seconds), max_size=3)
    caller = st.builds(
        Caller,
        at=moments,
        ask=asks,
        urgency=st.integers(0, 7),
        wait=st.sampled_from((0.0, 1.0, 30.0, 61.0, 120.0, 600.0)),
        safe=st.booleans(),
        body=st.sampled_from((0.0, 0.0, 2.0)),
        leaves=leaves,
        tries=fates.map(tuple),
        backoff=st.sampled_from((0.0, 0.5)),
    )
    crowd = st.tuples(caller, st.integers(1, 8)).map(lambda pair: [pair[0]] * pair[1])
    return st.lists(crowd, min_size=1, max_size=12).map(lambda crowds: [*chain.from_iterable(crowds)])


async def live(
    loop: WatchedLoop, shape: Limits, crowd: list[Caller], slow: float | None, seed: int
) -> list[Course]:
    """Everything that must hold with nobody else on the limits."""
    world = World(loop, shape, times=TIMES, slow=slow, seed=seed)
    loop.watched.idle = world.nobody_waits_in_vain
    courses = await world.run(*crowd)
    assert all(course.answers == 1 for course in courses)
    world.kept_to_the_limits()
    world.is_idle()
    assert world.revealed == 0
    return courses


@given(limits, callers(), st.integers(0, 2**16))
def test_alone_on_the_limits_nothing_is_broken_lost_or_late(
    shape: Limits, crowd: list[Caller], seed: int
) -> None:
    run_watched(lambda loop: live(loop, shape, crowd, None, seed))


@given(limits, callers(), st.sampled_from((0.01, 0.5, 3.0)), st.integers(0, 2**16))
def test_the_same_with_a_store_that_answers_late(
    shape: Limits, crowd: list[Caller], slow: float, seed: int
) -> None:
    run_watched(lambda loop: live(loop, shape, crowd, slow, seed))


@given(limits, callers(), st.lists(st.floats(0.0, 200.0), max_size=40), st.integers(0, 2**16))
def test_beside_others_on_the_limits_nothing_is_lost_or_late_either(
    shape: Limits, crowd: list[Caller], foreign: list[float], seed: int
) -> None:
    async def main(loop: WatchedLoop) -> None:
        world = World(loop, shape, times=TIMES, seed=seed)
        for at in foreign:
            world.clock.call_at(world.start + at, lambda: world.server.foreign("a", "t1", world.clock.now()))
        courses = await world.run(*crowd)
        assert all(course.answers == 1 for course in courses)
        assert not world.server.too_many[Limit.CONCURRENT]
        world.is_idle()

    run_watched(main)


@given(limits, callers((OK, LOST, OFFLINE), leaving=False), st.integers(0, 2**16))
def test_whoever_is_refused_as_hopeless_would_not_have_made_it(
    shape: Limits, crowd: list[Caller], seed: int
) -> None:
    """Had it waited on, its permit would have come after its deadline: if those before it stay in line."""
    courses = run_watched(lambda loop: live(loop, shape, crowd, None, seed))
    hopeless = [
        number
        for number, course in enumerate(courses)
        if course.refusal and course.refusal.why is Why.HOPELESS and not course.granted
        if not any(gives_up_later(course, other) for other in courses)
    ]
    for number in hopeless[:3]:
        caller = crowd[number]
        waits_on = [*crowd[:number], replace(caller, wait=1e6), *crowd[number + 1 :]]
        again = run_watched(partial(live, shape=shape, crowd=waits_on, slow=None, seed=seed))
        assert again[number].granted[0] > caller.at + caller.wait


def gives_up_later(course: Course, other: Course) -> bool:
    mine, others = course.ticket.ask, other.ticket.ask
    same_line = (mine.app, mine.tenant) == (others.app, others.tenant)
    return same_line and other.refusal is not None and other.refused_at > course.refused_at
