from __future__ import annotations

from bisect import bisect_left, bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.moments import Moments, Others
from proxy.core.limits.window import CLOCK_DRIFT, Window

SECONDS = 60.0
SPAN = SECONDS * (1 + CLOCK_DRIFT)


# ---- Moments


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "forget"]), st.integers(0, 20)), max_size=40))
def test_moments_count_like_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    moments, truth, asked = Moments(), list[float](), -1.0
    for what, place in steps:
        when = float(place)
        match what:
            case "add":
                moments.add(when)
                truth = sorted([*truth, when])
            case "remove" if when in truth:
                moments.remove(when)
                truth.remove(when)
            case "forget":
                moments.forget(when)
                asked = max(asked, when)
        assert moments.total == len(truth)
        for moment in range(int(asked) + 1, 22):
            assert moments.before(moment) == bisect_left(truth, moment)
            assert moments.until(moment) == bisect_right(truth, moment)
            assert list(moments.after(moment)) == truth[bisect_right(truth, moment) :]


@given(
    st.lists(st.tuples(st.sampled_from(["add", "drop", "hasten", "forget"]), st.integers(1, 5)), max_size=40)
)
def test_others_count_like_a_list_of_single_calls(steps: list[tuple[str, int]]) -> None:
    others, truth, now, asked = Others(), list[float](), 0.0, 0.0
    for what, number in steps:
        now += number
        match what:
            case "add":
                others.add(now, number)
                truth += [now] * number
            case "drop" if len(truth) - bisect_right(truth, now - 10) >= number:
                others.drop(now - 10, number)
                start = bisect_right(truth, now - 10)
                del truth[start : start + number]
            case "hasten" if truth and truth[-1] > now - 10:
                others.hasten(now - 10, now - 10 + number)
                del truth[bisect_right(truth, now - 10)]
                truth = sorted([*truth, now - 10 + number])
            case "forget":
                asked = now - 20
                others.forget(asked)
        assert others.total == len(truth)
        for moment in range(int(max(asked, 0)), int(now) + 1):
            assert others.until(moment) == bisect_right(truth, moment)
            assert list(others.after(moment)) == truth[bisect_right(truth, moment) :]


def test_moments_forget_in_batches() -> None:
    moments = Moments()
    for when in range(100):
        moments.add(when)
    moments.forget(10)
    assert len(moments.times) == 100
    moments.forget(60)
    assert len(moments.times) == 39
    assert moments.total == 100
    assert moments.until(60) == 61


# ---- One thing at a time


def test_a_call_occupies_its_place_until_a_window_after_its_response() -> None:
    window = Window(1, SECONDS)
    window.dispatch(0.0)
    assert window.free(1000.0) == 0
    assert window.earliest(1.0) is None
    window.settle(4.0)
    assert window.free(4.0 + SECONDS) == 0
    earliest = window.earliest(4.0)
    assert earliest == pytest.approx(4.0 + SPAN)
    assert earliest is not None
    assert window.free(earliest) == 1
    assert window.idle(earliest)


@given(st.floats(0.0, 1e7), st.sampled_from((1.0, 60.0)))
def test_the_time_that_is_named_is_late_enough_however_it_is_rounded(at: float, seconds: float) -> None:
    window = Window(1, seconds)
    window.dispatch(at)
    window.settle(at)
    earliest = window.earliest(at)
    assert earliest is not None
    assert window.free(earliest) == 1


def test_a_call_that_never_left_gives_its_place_back_even_long_after() -> None:
    window = Window(2, 1.0)
    window.dispatch(0.0)
    window.dispatch(5.0)
    assert window.free(5.0) == 0
    window.give_back(5.0)
    window.give_back(0.0)
    assert window.free(5.0) == 2
    assert window.idle(5.0)


def test_those_in_line_leave_room_for_those_ahead_of_them() -> None:
    window = Window(2, SECONDS)
    for sent_at, head_at in ((0.0, 1.0), (0.0, 3.0)):
        window.dispatch(sent_at)
        window.settle(head_at)
    times = [window.earliest(5.0, ahead) for ahead in range(6)]
    expected = [1 + SPAN, 3 + SPAN, 1 + 2 * SPAN, 3 + 2 * SPAN, 1 + 3 * SPAN, 3 + 3 * SPAN]
    assert times == pytest.approx(expected)


def test_behind_calls_in_flight_the_least_possible_time_is_named() -> None:
    window = Window(2, SECONDS)
    window.dispatch(0.0)
    assert [window.earliest(5.0, ahead) for ahead in range(2)] == [5.0, 5.0 + SPAN]
    window.dispatch(1.0)
    assert window.earliest(5.0) is None
    assert [window.earliest(5.0, ahead) for ahead in (1, 2)] == pytest.approx([5.0 + SPAN, 5.0 + 2 * SPAN])


# ---- Learning


def told(
    window: Window, remaining: int, *, sent_at: float, head_at: float, settled_at: float | None = None
) -> int:
    """Send a call, learn from its response and settle it."""
    window.dispatch(sent_at)
    revealed = window.learn(sent_at, head_at, remaining, head_at if settled_at is None else settled_at)
    window.settle(head_at)
    return revealed


def test_calls_of_others_are_counted_for_a_window_from_when_they_were_seen() -> None:
    window = Window(10, SECONDS)
    assert told(window, 5, sent_at=0.0, head_at=1.0) == 4
    assert window.foreign(1.0) == 4
    assert window.free(1.0) == 5
    assert window.foreign(1.0 + SECONDS) == 4
    assert window.foreign(2.0 + SPAN) == 0
    assert told(window, 4, sent_at=2.0, head_at=3.0) == 0


def test_more_taken_than_was_left_makes_nothing_negative() -> None:
    window = Window(4, SECONDS)
    for at in (0.0, 0.0, 0.0):
        window.dispatch(at)
    assert window.learn(0.0, 1.0, 0, 1.0) == 1
    window.settle(1.0)
    assert window.learn(0.0, 1.0, 0, 2.0) == 0
    window.dispatch(2.0)
    assert window.occupied(2.0) == 5
    assert window.free(2.0) == 0
    earliest = window.earliest(2.0)
    assert earliest is not None
    assert window.free(earliest) > 0


def test_a_response_that_may_be_older_never_lowers_what_a_newer_one_raised() -> None:
    window = Window(10, SECONDS)
    window.dispatch(0.0)
    assert told(window, 5, sent_at=1.0, head_at=2.0) == 3
    window.learn(0.0, 3.0, 9, 3.0)
    assert window.foreign(3.0) == 3
    assert told(window, 7, sent_at=4.0, head_at=5.0) == 0
    assert window.foreign(5.0) == 1


def test_an_older_response_never_raises_what_a_newer_one_lowered() -> None:
    window = Window(10, SECONDS)
    assert told(window, 5, sent_at=0.0, head_at=1.0) == 4
    window.dispatch(2.0)
    assert told(window, 8, sent_at=4.0, head_at=5.0) == 0
    assert window.foreign(5.0) == 0
    assert window.learn(2.0, 3.0, 1, 6.0) == 0
    assert window.foreign(6.0) == 0


def test_what_took_longer_than_a_window_says_nothing() -> None:
    window = Window(10, SECONDS)
    assert told(window, 0, sent_at=0.0, head_at=1.0, settled_at=SECONDS + 1.0) == 0
    assert window.foreign(SECONDS + 1.0) == 0


def test_a_fixed_window_that_begins_anew_forgets_others_but_not_what_came_since() -> None:
    window = Window(10, SECONDS)
    for at in (0.0, 1.0, 2.0):
        told(window, 10 - int(at) - 1, sent_at=at, head_at=at + 0.5)
    window.dispatch(3.0)
    assert told(window, 9, sent_at=4.0, head_at=4.5) == 0
    assert window.learn(3.0, 5.0, 0, 5.0) == 0, "it may have been counted before the beginning"
    window.settle(5.0)
    assert told(window, 5, sent_at=6.0, head_at=6.5) == 1, "at most four of ours have come since"


@pytest.mark.parametrize("remaining", [10, 11, 5000])
def test_a_server_that_lifts_its_limit_for_a_while_reveals_nobody(remaining: int) -> None:
    """Headers pinned at full, or more than the settings know of, allow no more than the settings."""
    window = Window(10, SECONDS)
    for at in range(8):
        assert told(window, remaining, sent_at=float(at), head_at=at + 0.5) == 0
    assert window.free(10.0) == 2


def test_how_many_a_server_may_not_have_counted_yet() -> None:
    window = Window(10, SECONDS)
    told(window, 9, sent_at=0.0, head_at=1.0)
    window.dispatch(0.5)
    window.dispatch(2.0)
    window.dispatch(3.0)
    assert window.unaccounted(2.0) == 2


def test_what_nobody_can_ask_about_any_more_is_let_go() -> None:
    window = Window(60, SECONDS)
    for turn in range(1000):
        at = turn * (SECONDS + 1.0)
        assert told(window, 50, sent_at=at, head_at=at + 0.5) == 9
    kept = (window._sent.times, window._settled.times, window._others._batches)
    assert all(len(moments) <= 6 for moments in kept)


def test_a_call_that_a_fast_clock_at_the_server_has_forgotten_is_no_new_beginning() -> None:
    window = Window(10, SECONDS)
    told(window, 9, sent_at=0.0, head_at=0.0)
    window.dispatch(59.0)
    assert told(window, 9, sent_at=59.98, head_at=59.98) == 0
    assert window.learn(59.0, 60.0, 0, 60.0) == 7, "it is not taken for a word from before the beginning"


def test_only_what_is_new_is_revealed() -> None:
    window = Window(10, SECONDS)
    assert told(window, 7, sent_at=0.0, head_at=1.0) == 2
    assert told(window, 4, sent_at=2.0, head_at=3.0) == 2
    assert window.foreign(3.0) == 4
    assert told(window, 5, sent_at=4.0, head_at=5.0) == 0
    assert window.foreign(5.0) == 2
