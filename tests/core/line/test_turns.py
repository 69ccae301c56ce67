"""Whose turn it is: each rule without a clock, a store or a scheduler."""

from __future__ import annotations

import pytest

from proxy.core.limits.decision import Ask, Denial
from proxy.core.limits.holds import HoldAction
from proxy.core.model import Limit
from tests.core.floor import ON_A, A, B, C, Floor, change


@pytest.fixture
def floor() -> Floor:
    return Floor()


def test_one_of_a_line_asks_at_a_time_and_the_next_when_it_is_answered(floor: Floor) -> None:
    first, second, third = (floor.join(A) for _ in range(3))
    assert floor.woken == [first]
    floor.grant(first)
    assert floor.woken == [first, second]
    floor.leave(third)
    floor.grant(second)
    assert len(floor.woken) == 2
    floor.turns.forget_if_idle(A)
    assert floor.is_empty()


def test_lines_ask_independently(floor: Floor) -> None:
    assert all(floor.asks(floor.join(ask)) for ask in (A, B, Ask("app", None, "x"), Ask("other", "a", "x")))


def test_the_urgent_asks_next(floor: Floor) -> None:
    first, _, urgent = floor.join(A), floor.join(A), floor.join(A, urgency=0)
    floor.grant(first)
    assert floor.asks(urgent)


@pytest.mark.parametrize("until", [None, 60.0])
def test_a_limited_line_asks_again_when_one_of_its_own_attempts_ends(
    floor: Floor, until: float | None
) -> None:
    first, behind = floor.join(A), floor.join(A)
    floor.deny(first, Limit.MINUTE, until)
    assert floor.place(first).blocked_by == Limit.MINUTE
    floor.settle(B)
    assert not floor.asks(first)
    floor.settle(A)
    assert floor.asks(first)
    assert not floor.asks(behind)


def test_a_limited_line_asks_again_at_its_time_and_at_no_outdated_one(floor: Floor) -> None:
    first = floor.join(A)
    floor.deny(first, Limit.MINUTE, 60.0)
    floor.settle(A)
    floor.deny(first, Limit.MINUTE, 61.0)
    assert [when for when, _ in floor.alarms] == [60.0, 61.0]
    floor.ring(0)
    assert not floor.asks(first)
    floor.ring(1)
    assert floor.asks(first)


def test_nobody_overtakes_in_a_limited_line(floor: Floor) -> None:
    first = floor.join(A)
    floor.deny(first, Limit.MINUTE, 60.0)
    assert not floor.asks(floor.join(A))


def test_a_denial_that_does_not_know_of_an_attempts_end_is_asked_again(floor: Floor) -> None:
    first = floor.join(A)
    floor.settle(A)
    floor.deny(first, Limit.CONCURRENT)
    assert floor.asks(first)
    floor.settle(B)
    floor.deny(first, Limit.CONCURRENT)
    assert not floor.asks(first)


@pytest.mark.parametrize("denial", [Denial("offline", None, ON_A), Denial(Limit.APP_MINUTE, None)])
def test_a_denial_for_all_that_does_not_know_of_anybodys_end_is_asked_again(
    floor: Floor, denial: Denial
) -> None:
    first = floor.join(A)
    floor.settle(B)
    floor.turns.denied(floor.place(first), denial)
    assert floor.asks(first)
    floor.turns.hold_changed(change(HoldAction.CLEARED, ON_A))
    floor.turns.denied(floor.place(first), denial)
    assert floor.asks(first)
    floor.turns.denied(floor.place(first), denial)
    assert not floor.asks(first)


def test_a_turn_whose_ticket_leaves_goes_to_the_next(floor: Floor) -> None:
    first, second = floor.join(A), floor.join(A)
    floor.leave(first)
    assert floor.asks(second)
    floor.leave(second)
    assert floor.is_empty()


def test_a_line_is_kept_while_somebody_is_expected_there(floor: Floor) -> None:
    place = floor.turns.place(A)
    place.admitted = 1
    floor.turns.forget_if_idle(A)
    assert floor.turns.find(A) is place
    place.admitted = 0
    floor.turns.forget_if_idle(A)
    floor.turns.forget_if_idle(A)
    assert floor.turns.find(A) is None


def test_lines_that_wait_for_the_app_get_their_turns_in_a_ring(floor: Floor) -> None:
    first = [floor.join(ask) for ask in (A, B, C)]
    second = [floor.join(ask) for ask in (A, B, C)]
    for ticket in first:
        floor.deny(ticket, Limit.APP_MINUTE, 60.0)
    floor.turns.due("app", 60.0)
    order = []
    while asking := [ticket for ticket in (*first, *second) if floor.asks(ticket)]:
        assert len(asking) == 1
        order += asking
        floor.grant(asking[0])
    assert order == first + second


def test_a_newcomer_stands_behind_those_who_wait_for_the_app(floor: Floor) -> None:
    waits = floor.join(A)
    floor.deny(waits, Limit.APP_MINUTE, 60.0)
    newcomer = floor.join(B)
    assert not floor.asks(newcomer)
    assert floor.place(newcomer).blocked_by == Limit.APP_MINUTE
    floor.turns.due("app", 60.0)
    assert floor.asks(waits)
    floor.grant(waits)
    assert floor.asks(newcomer)


def test_an_outdated_alarm_of_an_app_does_nothing(floor: Floor) -> None:
    waits = floor.join(A)
    floor.deny(waits, Limit.APP_MINUTE, 60.0)
    floor.turns.due("app", 59.0)
    floor.turns.due("nobody", 60.0)
    assert not floor.asks(waits)


def test_the_first_of_the_ring_keeps_its_place_when_it_is_too_early(floor: Floor) -> None:
    waits, behind = floor.join(A), floor.join(B)
    floor.deny(waits, Limit.APP_MINUTE, None)
    floor.deny(behind, Limit.APP_MINUTE, None)
    floor.settle(C)
    assert floor.asks(waits)
    floor.settle(C)
    assert not floor.asks(behind)
    floor.deny(waits, Limit.APP_MINUTE, 60.0)
    assert floor.asks(waits)  # the second attempt ended meanwhile
    floor.deny(waits, Limit.APP_MINUTE, 60.0)
    assert not floor.asks(waits)
    floor.turns.due("app", 60.0)
    assert floor.asks(waits)
    assert not floor.asks(behind)


def test_a_turn_of_the_ring_that_meets_another_limit_is_handed_on(floor: Floor) -> None:
    waits, behind = floor.join(A), floor.join(B)
    floor.deny(waits, Limit.APP_MINUTE, 60.0)
    floor.deny(behind, Limit.APP_MINUTE, 60.0)
    floor.turns.due("app", 60.0)
    floor.deny(waits, Limit.CONCURRENT)
    assert floor.asks(behind)
    floor.settle(A)
    assert not floor.asks(waits)  # it stands behind who asks
    floor.grant(behind)
    assert floor.asks(waits)


def test_a_turn_of_the_ring_whose_ticket_leaves_goes_to_the_next(floor: Floor) -> None:
    waits, same, behind = floor.join(A), floor.join(A), floor.join(B)
    floor.deny(waits, Limit.APP_MINUTE, 60.0)
    floor.deny(behind, Limit.APP_MINUTE, 60.0)
    floor.turns.due("app", 60.0)
    floor.leave(waits)
    assert floor.asks(same)
    floor.leave(same)
    assert floor.asks(behind)
    floor.leave(behind)
    assert floor.is_empty()


def test_lines_without_anybody_who_could_ask_leave_the_ring(floor: Floor) -> None:
    gone, held, behind = floor.join(A), floor.join(B), floor.join(C)
    for ticket in (gone, held, behind):
        floor.deny(ticket, Limit.APP_MINUTE, 60.0)
    floor.place(gone).admitted = 1
    floor.leave(gone)
    floor.place(held).line.parked.add("accounting")
    floor.turns.due("app", 60.0)
    assert floor.asks(behind)
    floor.grant(behind)
    assert not floor.turns._rings


def test_a_line_that_leaves_while_it_stands_in_the_ring_is_forgotten(floor: Floor) -> None:
    waits = floor.join(A)
    floor.deny(waits, Limit.APP_MINUTE, 60.0)
    floor.leave(waits)
    assert floor.is_empty()


def test_the_way_is_clear_where_nobody_stands_asks_or_waits_for_the_app(floor: Floor) -> None:
    assert floor.turns.clear(A)
    first = floor.join(A)
    assert not floor.turns.clear(A)
    assert floor.turns.clear(B)
    floor.grant(first)
    assert floor.turns.clear(A)
    floor.deny(floor.join(B), Limit.APP_MINUTE, 60.0)
    assert not floor.turns.clear(A)
    assert floor.turns.clear(Ask("other", "a", "x"))


def test_a_line_that_is_known_to_be_full_waits_without_asking(floor: Floor) -> None:
    first, second = floor.join(A), floor.join(A)
    floor.grant(first, following=Denial(Limit.MINUTE, 60.0))
    assert not floor.asks(second)
    assert floor.place(second).blocked_by == Limit.MINUTE
    assert [when for when, _ in floor.alarms] == [60.0]
