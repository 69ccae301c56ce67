"""Whose turn it is while a hold lasts, and when it ends."""

from __future__ import annotations

import pytest

from proxy.core.limits.decision import Ask, Denial
from proxy.core.limits.holds import HoldAction
from proxy.core.line.lines import Ticket
from proxy.core.line.turns import State
from proxy.core.model import HoldKey, Limit, Scope
from tests.core.floor import FILES, ON_A, ON_API, ON_APP, A, B, C, Floor, change

BUSY = Denial(Limit.CONCURRENT, None)


@pytest.fixture
def floor() -> Floor:
    return Floor()


def hold_all(floor: Floor, *tickets: Ticket, key: HoldKey = ON_APP, until: float | None = 300.0) -> None:
    for ticket in tickets:
        floor.deny(ticket, "offline", until, key)


def time_is_up(floor: Floor, key: HoldKey = ON_APP) -> None:
    """The hold's time is up."""
    floor.turns.due(key, floor.turns._hold_alarms[key])


def test_a_hold_has_one_alarm_however_many_wait(floor: Floor) -> None:
    hold_all(floor, floor.join(A), floor.join(B))
    assert floor.alarms == [(300.0, ON_APP)]
    floor.settle(C, change(HoldAction.EXTENDED, ON_APP, 400.0))
    assert floor.alarms == [(300.0, ON_APP), (400.0, ON_APP)]
    assert not floor.turns.awaits(ON_APP, 300.0)
    assert floor.turns.awaits(ON_APP, 400.0)
    floor.turns.due(ON_APP, 300.0)
    assert len(floor.woken) == 2


def test_a_hold_for_which_nobody_waits_needs_no_alarm(floor: Floor) -> None:
    floor.settle(A, change(HoldAction.BEGUN, ON_APP, 300.0))
    assert floor.alarms == []


def test_the_first_safe_ticket_of_all_lines_is_the_probe(floor: Floor) -> None:
    posts = [floor.join(A, safe=False), floor.join(B, safe=False)]
    get = floor.join(C)
    hold_all(floor, *posts, get)
    floor.join(A, safe=False)
    time_is_up(floor)
    assert floor.asks(get)
    assert not any(floor.asks(post) for post in posts)
    floor.grant(get, ON_APP)
    assert not any(floor.asks(post) for post in posts)
    floor.settle(C, change(HoldAction.ENDED, ON_APP))
    assert all(floor.asks(post) for post in posts)


def test_an_inconclusive_probe_lets_one_other_ask(floor: Floor) -> None:
    first, second, third = floor.join(A), floor.join(B), floor.join(C)
    hold_all(floor, first, second, third)
    time_is_up(floor)
    floor.grant(first, ON_APP)
    floor.settle(A, change(HoldAction.INCONCLUSIVE, ON_APP))
    assert (floor.asks(second), floor.asks(third)) == (True, False)


def test_the_rest_of_the_probes_own_line_waits_for_the_verdict_too(floor: Floor) -> None:
    probe, behind = floor.join(A), floor.join(A)
    hold_all(floor, probe, key=ON_A)
    time_is_up(floor, ON_A)
    floor.grant(probe, ON_A)
    assert not floor.asks(behind)
    floor.turns.hold_changed(change(HoldAction.CLEARED, ON_A))
    assert floor.asks(behind)


def test_a_hold_that_is_gone_when_the_probe_asks_stops_nobody(floor: Floor) -> None:
    first, second = floor.join(A), floor.join(B)
    hold_all(floor, first, second)
    time_is_up(floor)
    floor.grant(first)
    assert floor.asks(second)


def test_a_probe_that_is_told_to_wait_on_waits_on(floor: Floor) -> None:
    first, second = floor.join(A), floor.join(B)
    hold_all(floor, first, second)
    time_is_up(floor)
    hold_all(floor, first, until=None)
    assert not floor.asks(first)
    assert not floor.asks(second)
    floor.settle(C, change(HoldAction.ENDED, ON_APP))
    assert floor.asks(first)
    assert floor.asks(second)


@pytest.mark.parametrize(
    "denial", [BUSY, Denial(Limit.APP_MINUTE, 9.0), Denial("day", 9.0, ON_A), Denial("busy", 9.0, ON_API)]
)
def test_a_probe_that_meets_something_else_hands_its_turn_on(floor: Floor, denial: Denial) -> None:
    first, second = floor.join(A), floor.join(B)
    hold_all(floor, first, second)
    time_is_up(floor)
    floor.turns.denied(floor.place(first), denial)
    assert not floor.asks(first)
    assert floor.asks(second)


def test_a_probe_that_leaves_hands_its_turn_to_the_next_safe_one_of_its_line(floor: Floor) -> None:
    post, first, second = floor.join(A, safe=False), floor.join(A), floor.join(A)
    hold_all(floor, post, key=ON_A)
    time_is_up(floor, ON_A)
    assert floor.asks(first)
    floor.leave(first)
    assert floor.asks(second)
    floor.leave(second)
    assert floor.asks(post)
    floor.leave(post)
    assert floor.is_empty()


def test_an_outdated_denial_of_a_probe_lets_it_ask_again(floor: Floor) -> None:
    first, second = floor.join(A), floor.join(B)
    hold_all(floor, first, second)
    time_is_up(floor)
    floor.settle(C)
    hold_all(floor, first)
    assert floor.asks(first)
    assert not floor.asks(second)


def test_where_no_line_can_probe_all_go_back_to_their_own_waiting(floor: Floor) -> None:
    first = floor.join(A)
    hold_all(floor, first, key=ON_API)
    files = floor.join(FILES)
    floor.deny(files, Limit.CONCURRENT)
    time_is_up(floor, ON_API)
    assert not floor.asks(first)
    assert not floor.asks(files)
    floor.settle(A)
    assert floor.asks(first)


def test_other_apis_overtake_a_held_one(floor: Floor) -> None:
    held, behind = floor.join(A), floor.join(A)
    hold_all(floor, held, key=ON_API)
    assert not floor.asks(behind)
    overtakes = floor.join(FILES)
    assert floor.asks(overtakes)
    time_is_up(floor, ON_API)  # the line is busy asking: then the first of the held ones is next
    floor.grant(overtakes)
    assert floor.asks(held)


def test_a_line_of_an_api_hold_may_be_held_for_itself_as_well(floor: Floor) -> None:
    held = floor.join(A)
    hold_all(floor, held, key=ON_API)
    files = floor.join(FILES)
    hold_all(floor, files, key=ON_A)
    assert floor.place(held).state is State.HELD
    time_is_up(floor, ON_API)
    assert floor.asks(held)
    hold_all(floor, held, key=ON_A)
    floor.settle(B, change(HoldAction.ENDED, ON_A))
    assert floor.asks(held)


def test_a_hold_that_ends_opens_no_line_that_waits_for_something_else_by_now(floor: Floor) -> None:
    held = floor.join(A)
    hold_all(floor, held, key=ON_API)
    hold_all(floor, floor.join(FILES), key=ON_A)
    time_is_up(floor, ON_API)
    floor.deny(held, Limit.MINUTE, 60.0)
    floor.turns.hold_changed(change(HoldAction.CLEARED, ON_A))
    assert not floor.asks(held)
    floor.turns.due(floor.place(held), 60.0)
    assert floor.asks(held)


def test_a_probe_may_ask_so_long_that_its_hold_is_due_again(floor: Floor) -> None:
    slow, other = floor.join(A), floor.join(B)
    hold_all(floor, slow)
    time_is_up(floor)
    hold_all(floor, other, until=400.0)
    floor.leave(other)
    time_is_up(floor)
    floor.deny(slow, Limit.MINUTE, 500.0)
    assert floor.place(slow).state is State.LIMITED
    assert not floor.turns._parked


def test_a_line_that_is_forgotten_waits_for_no_hold(floor: Floor) -> None:
    first, second = floor.join(A), floor.join(B)
    hold_all(floor, first, second)
    floor.leave(first)
    floor.leave(second)
    assert floor.is_empty()
    time_is_up(floor)
    assert len(floor.woken) == 2


@pytest.mark.parametrize(
    ("key", "affected"),
    [
        (ON_A, ["a accounting", "a files"]),
        (ON_APP, ["a accounting", "a files", "b accounting"]),
        (ON_API, ["a accounting", "b accounting", "a accounting"]),
        (HoldKey(Scope.TENANT, app="app", tenant="unknown"), []),
        (HoldKey(Scope.TENANT_API, app="app", tenant="a", api="files"), ["a files"]),
        (HoldKey(Scope.HOST), ["a accounting", "a files", "b accounting", "a accounting"]),
    ],
)
def test_a_hold_affects_whom_it_stops(floor: Floor, key: HoldKey, affected: list[str]) -> None:
    for ask in (A, FILES, B, Ask("other", "a", "accounting")):
        floor.join(ask)
    found = [f"{ticket.ask.tenant} {ticket.ask.api}" for ticket in floor.turns.affected(key)]
    assert found == affected


def test_whoever_waits_behind_a_probe_that_came_by_itself_has_a_turn_when_it_is_silent(floor: Floor) -> None:
    floor.settle(C, change(HoldAction.BEGUN, ON_API, 300.0))
    waits, comes = floor.join(A), floor.join(B)
    floor.deny(waits, "offline", 305.0, ON_API)
    floor.grant(comes, ON_API)
    assert floor.alarms == [(305.0, ON_API)]
    time_is_up(floor, ON_API)
    assert floor.asks(waits)
    floor.grant(waits, ON_API)


def test_a_probe_for_which_nobody_waits_needs_no_alarm(floor: Floor) -> None:
    alone = floor.join(A)
    floor.grant(alone, ON_A)
    assert floor.alarms == []


def test_lines_get_their_turns_past_silent_probes_one_after_the_other(floor: Floor) -> None:
    first, behind, second = floor.join(A), floor.join(A), floor.join(B)
    hold_all(floor, first, second, key=ON_API)
    for probe in (first, second, behind):
        time_is_up(floor, ON_API)
        assert floor.asks(probe)
        floor.grant(probe, ON_API)


def test_a_line_that_waits_for_two_holds_of_one_api_waits_for_the_other_still(floor: Floor) -> None:
    own = HoldKey(Scope.TENANT_API, app="app", tenant="a", api="accounting")
    held = floor.join(A)
    hold_all(floor, held, key=ON_API)
    floor.turns._park(floor.place(held), own, 400.0)
    floor.turns.hold_changed(change(HoldAction.ENDED, ON_API))
    assert not floor.asks(held)
    floor.turns.hold_changed(change(HoldAction.ENDED, own))
    assert floor.asks(held)
