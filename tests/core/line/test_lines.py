from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.decision import Ask
from proxy.core.line.lines import AGEING_SECONDS, PROMPT_SECONDS, Line, Ticket
from proxy.core.line.turns import Place
from proxy.core.model import TenantView


def ticket(arrived: float, urgency: int = 3, api: str = "accounting", *, safe: bool = True) -> Ticket:
    return Ticket(Ask("app", "t1", api), arrived, arrived + 120.0, urgency, safe=safe)


def line_of(*tickets: Ticket) -> Line:
    line = Line()
    for each in tickets:
        line.join(each)
    return line


def served(line: Line) -> list[Ticket]:
    """Everybody in the order in which they go."""
    order = []
    while head := line.head():
        assert line.leave(head)
        order.append(head)
    return order


def test_an_empty_line_has_nobody() -> None:
    line = Line()
    assert len(line) == 0
    assert list(line) == []
    assert line.head() is None
    assert line.probe() is None
    assert line.oldest() is None
    assert line.ahead(7) == 0


def test_a_request_is_safe_and_of_middling_urgency_unless_it_says_otherwise() -> None:
    usual = Ticket(Ask("app", "t1", "accounting"), 0.0, 120.0)
    assert (usual.urgency, usual.safe, usual.waited, usual.admitted, usual.left) == (
        3,
        True,
        {},
        False,
        False,
    )


def test_first_come_first_served_inside_an_urgency() -> None:
    tickets = [ticket(float(at)) for at in range(10)]
    assert served(line_of(*tickets)) == tickets


def test_those_who_came_at_the_same_moment_keep_their_order() -> None:
    tickets = [ticket(1.0) for _ in range(10)]
    assert served(line_of(*tickets)) == tickets


def test_the_urgent_go_first() -> None:
    late, early, urgent = ticket(1.0, 7), ticket(2.0, 3), ticket(3.0, 0)
    assert served(line_of(late, early, urgent)) == [urgent, early, late]


def test_a_wait_makes_up_for_urgency() -> None:
    patient = ticket(0.0, 7)
    before, after = ticket(7 * AGEING_SECONDS - 1.0, 0), ticket(7 * AGEING_SECONDS + 1.0, 0)
    assert served(line_of(patient, before, after)) == [before, patient, after]


def test_nothing_starves() -> None:
    """With one urgent newcomer for everybody who goes, the least urgent still has its turn."""
    patient = ticket(0.0, 7)
    line, now = line_of(patient), 0.0
    while True:
        line.join(ticket(now, 0))
        head = line.head()
        assert head is not None
        if head is patient:
            break
        line.leave(head)
        now += 1.0
    assert now <= 7 * AGEING_SECONDS + 1.0


def test_who_stands_before_somebody_is_counted_over_all_lanes_that_can_move() -> None:
    early, late, urgent, other = ticket(1.0), ticket(2.0), ticket(3.0, 0), ticket(0.5, api="projects")
    line = line_of(early, late, urgent, other)
    assert [line.before(each) for each in (urgent, other, early, late)] == [0, 1, 2, 3]
    line.parked = {"projects"}
    assert line.before(late) == 2


def test_whoever_stood_there_before_stands_there_again() -> None:
    tickets = [ticket(float(at)) for at in range(8)]
    line = line_of(*tickets)
    tried = tickets[:5]
    for each in tried:
        line.leave(each)
    for each in (tried[1], tried[4], tried[0], tried[2], tried[3]):
        line.join(each)
    assert served(line) == tickets


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 7), st.sampled_from("xy")), max_size=25),
    st.randoms(use_true_random=False),
)
def test_the_order_of_joining_does_not_matter(places: list[tuple[int, int, str]], random: object) -> None:
    tickets = [ticket(float(at), urgency, api) for at, urgency, api in places]
    shuffled = tickets[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis gives no narrower type
    line = line_of(*shuffled)
    assert len(line) == len(tickets)
    assert set(line) == set(tickets)
    assert line.oldest() == min((each.arrived for each in tickets), default=None)
    ranks = [each.rank for each in served(line)]
    assert ranks == sorted(each.rank for each in tickets)
    assert len(line) == 0


def test_anybody_can_leave_from_anywhere_but_only_once() -> None:
    tickets = [ticket(float(at)) for at in range(3)]
    line = line_of(*tickets)
    assert line.leave(tickets[1])
    assert not line.leave(tickets[1])
    assert not line.leave(ticket(1.0))
    assert not line.leave(ticket(1.0, api="files"))
    assert served(line) == [tickets[0], tickets[2]]
    assert line._lanes == {}


def test_those_whose_api_is_held_are_overtaken() -> None:
    held, free = ticket(0.0, 0, "files"), ticket(9.0, 7)
    line = line_of(held, free)
    line.parked.add("files")
    assert line.head() is free
    line.leave(free)
    assert line.head() is None
    line.parked.clear()
    assert line.head() is held


def test_how_many_are_ahead() -> None:
    line = line_of(*(ticket(1.0, urgency) for urgency in (0, 3, 3, 5)), ticket(1.0, 0, "files"))
    assert [line.ahead(urgency) for urgency in (0, 2, 3, 4, 7)] == [2, 2, 4, 4, 5]
    line.parked.add("files")
    assert [line.ahead(urgency) for urgency in (0, 7)] == [1, 4], "who can be overtaken is not ahead"


def test_a_probe_is_a_safe_request_if_there_is_one() -> None:
    write, later_write = ticket(0.0, 0, safe=False), ticket(1.0, 0, safe=False)
    read, urgent_read = ticket(2.0, 7), ticket(3.0, 6)
    assert line_of(write, later_write).probe() is write
    assert line_of(write, read, urgent_read).probe() is urgent_read


@pytest.mark.parametrize("parked", [set[str](), {"accounting", "files"}])
def test_a_probe_of_an_api_is_a_request_to_it(parked: set[str]) -> None:
    other, write = ticket(0.0, 0, "files"), ticket(1.0, 3, safe=False)
    line = line_of(other, write)
    line.parked = parked
    assert line.probe("accounting") is write
    assert line.probe("files") is other
    assert line.probe("projects") is None
    assert line.probe() is other


def test_a_ticket_says_until_when_it_may_go_at_once() -> None:
    assert ticket(5.0).prompt_until == 5.0 + PROMPT_SECONDS


def test_an_organisation_is_shown_with_its_line_where_there_is_one() -> None:
    view = TenantView("app", "t", 0, 0.0, "", None, 0, 5, 60, 60, 5000, 5000, 0)
    place = Place("app")
    assert place.shown(view, 9.0) is view
    place.line.join(ticket(2.0))
    place.blocked_by, place.until = "minute", 12.0
    shown = place.shown(view, 9.0)
    assert (shown.queued, shown.oldest_seconds, shown.blocked_by, shown.next_seconds) == (
        1,
        7.0,
        "minute",
        3.0,
    )
    place.until = None
    assert place.shown(view, 9.0).next_seconds is None


class Counted(float):
    """A time of arrival that counts how often one was compared."""

    steps = 0

    def __lt__(self, other: object) -> bool:
        Counted.steps += 1
        return float(self) < float(other)  # type: ignore[arg-type]

    def __add__(self, other: float) -> Counted:
        return Counted(float(self) + other)


@pytest.mark.parametrize("same", [False, True])
def test_what_a_line_does_costs_no_step_for_each_that_stands_there(same: bool) -> None:
    def steps(many: int) -> float:
        tickets = [ticket(Counted(0.0 if same else float(at)), at % 3) for at in range(many)]
        line = line_of(*tickets)
        Counted.steps = 0
        for each in tickets:
            line.before(each)
            line.leave(each)
            line.join(each)
        for each in tickets[::-1]:
            line.leave(each)
            line.head()
        return Counted.steps / many

    few, many = steps(64), steps(4096)
    assert many < 3 * few
