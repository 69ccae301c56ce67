"""Probes that say nothing, or that nobody wants any more: examples in virtual time."""

from __future__ import annotations

import pytest

from proxy.core.limits.decision import Ask, Settlement
from proxy.core.line.refusal import Refusal
from proxy.core.model import Execution, HoldRule, Limit, Remaining, ResponseClass, Scope
from tests.crowd import ACCOUNTING, PATIENT, Crowd, held, until
from tests.scheduling import Caller
from tests.strict_xero import MAINTENANCE, OK, TOO_MANY, Limits

SPENT_DAY = ResponseClass(
    "limit_day", Execution.REJECTED, HoldRule(Scope.TENANT, "day", "retry_after"), limit=Limit.DAY
)


def test_past_a_silent_probe_one_line_goes_after_the_other_and_whoever_comes_at_once() -> None:
    async def body(crowd: Crowd) -> None:
        asks = [Ask("app", tenant, "accounting") for tenant in ("a", "a", "b", "c")]
        await crowd.join(*[Caller(ask=ask, wait=600.0) for ask in asks])
        end = until(crowd, ACCOUNTING)
        assert await crowd.at(end + 0.1) == [1]
        assert await crowd.at(end + 4.9) == []
        assert await crowd.at(end + 5.1) == [3], "not the other one of the line whose probe is silent"
        await crowd.join(Caller(ask=Ask("app", "d", "accounting"), wait=0.0))
        assert sorted(crowd.granted) == [0, 1, 3, 5]
        assert await crowd.at(end + 9.9) == []
        assert await crowd.at(end + 10.1) == [4]
        assert await crowd.at(end + 15.1) == [2]

    held(body, MAINTENANCE)


def test_a_silent_probe_makes_nobody_hopeless_who_can_wait_for_five_seconds() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(PATIENT)
        assert await crowd.at(301.1) == [1]
        late = crowd.world.ticket(Caller(wait=4.8))
        assert isinstance(await crowd.world.scheduler.acquire(late), Refusal)
        await crowd.join(Caller(wait=5.0))
        assert await crowd.at(306.1) == [2]

    held(body)


def test_a_probe_whose_caller_has_left_keeps_nobody() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[PATIENT] * 3)
        assert await crowd.at(301.1) == [1]
        crowd.world.scheduler.let_go(crowd.granted[1])
        assert await crowd.at(301.2) == [2]
        assert await crowd.settle(1, OK) == [3]
        crowd.world.scheduler.let_go(crowd.granted[1])

    held(body)


def test_a_report_is_the_probe_only_where_nothing_else_waits() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(
            Caller(wait=3000.0, slow=True), Caller(wait=3000.0, safe=False), Caller(wait=3000.0, slow=True)
        )
        assert await crowd.at(301.1) == [2]
        assert await crowd.at(306.2) == [1]

    held(body)


def test_a_good_head_lets_all_go_while_its_body_keeps_its_own_place() -> None:
    async def body(crowd: Crowd) -> None:
        await crowd.join(*[PATIENT] * 6)
        assert await crowd.at(301.1) == [1]
        world, probe = crowd.world, crowd.granted[1]
        await world.scheduler.settle(probe, Settlement(OK, True, world.clock.now()), ended=False)
        assert await crowd.at(301.2) == [2, 3]
        world.scheduler.release(probe)
        world.scheduler.release(probe)
        assert await crowd.at(301.3) == [4]

    held(body, limits=Limits(concurrent=3))


SPENT = [
    pytest.param(TOO_MANY[Limit.MINUTE], Remaining(minute=0), id="minute"),
    pytest.param(TOO_MANY[Limit.APP_MINUTE], Remaining(app_minute=0), id="appminute"),
    pytest.param(SPENT_DAY, Remaining(day=0), id="day"),
]


@pytest.mark.parametrize(("row", "remaining"), SPENT)
def test_a_probe_that_says_nothing_of_a_spent_limit_stops_nobody_for_longer_than_five_seconds(
    row: ResponseClass, remaining: Remaining
) -> None:
    async def body(crowd: Crowd) -> None:
        scheduler, now = crowd.world.scheduler, crowd.world.clock.now()
        await crowd.join(Caller(wait=0.0))
        await scheduler.settle(crowd.granted[1], Settlement(row, True, now, remaining, 2.0))
        await crowd.join(Caller(wait=60.0), *[Caller(wait=12.0)] * 4)
        assert await crowd.at(3.9) == [2], "the probe"
        await crowd.join(Caller(wait=10.0))
        assert await crowd.at(8.3) == []
        assert await crowd.at(8.5) == [3]
        assert await crowd.settle(3, OK) == [4, 5, 6, 7]

    held(body, OK)
