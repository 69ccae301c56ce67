from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.day import ASK_AGAIN_SECONDS, BUCKET_SECONDS, DAY_SECONDS, Day

HOUR = 3600.0


def spend(day: Day, calls: int, now: float) -> None:
    for _ in range(calls):
        day.dispatch(now)


def test_our_own_count_stands_in_where_the_server_says_nothing() -> None:
    day = Day(3)
    spend(day, 2, 0.0)
    assert day.remaining(0.0) == 1
    assert day.earliest(0.0) == 0.0
    spend(day, 1, 10.0)
    assert day.remaining(10.0) == 0


def test_a_call_is_forgotten_after_a_day_and_no_sooner() -> None:
    day = Day(2)
    spend(day, 1, 0.0)
    spend(day, 1, 10 * HOUR)
    assert day.remaining(DAY_SECONDS) == 0
    assert day.remaining(DAY_SECONDS + BUCKET_SECONDS) == 1
    assert day.remaining(DAY_SECONDS + 10 * HOUR + BUCKET_SECONDS) == 2


def test_calls_of_a_few_minutes_share_a_bucket() -> None:
    day = Day(100_000)
    for second in range(3600):
        day.dispatch(float(second))
    assert len(day._buckets) == 3600 / BUCKET_SECONDS


def test_the_smaller_of_our_count_and_the_servers_counts() -> None:
    day = Day(10)
    spend(day, 4, 0.0)
    day.learn(3, 0)
    assert day.remaining(0.0) == 3
    day = Day(5)
    spend(day, 4, 0.0)
    day.learn(4000, 0)
    assert day.remaining(0.0) == 1, "a server that knows of more does not lift our own limit"


def test_what_was_sent_since_is_taken_off_the_servers_word() -> None:
    day = Day(5000)
    spend(day, 5, 0.0)
    day.learn(100, 4)
    assert day.remaining(0.0) == 100
    spend(day, 3, 1.0)
    assert day.remaining(1.0) == 97
    day.learn(98, 2)
    assert day.remaining(1.0) == 97, "inside what the calls under way explain"
    day.learn(90, 2)
    assert day.remaining(1.0) == 90, "somebody else has been calling"
    day.learn(95, 2)
    assert day.remaining(1.0) == 93, "more than the calls under way explain"


def test_a_count_that_rises_at_the_server_frees_as_many_of_ours() -> None:
    """So the server's reset is followed and never computed."""
    day = Day(5000)
    spend(day, 3000, 0.0)
    spend(day, 1999, 10 * HOUR)
    day.learn(1, 0)
    assert day.remaining(11 * HOUR) == 1
    day.learn(3001, 0)
    assert day.remaining(11 * HOUR) == 3001
    day.learn(5000, 0)
    assert day.remaining(11 * HOUR) == 5000
    day.learn(6000, 0)
    assert day.remaining(11 * HOUR) == 5000


def test_part_of_a_bucket_can_be_forgotten() -> None:
    day = Day(10)
    spend(day, 10, 0.0)
    day.learn(0, 0)
    day.learn(4, 0)
    assert day.remaining(0.0) == 4
    assert day.remaining(DAY_SECONDS + BUCKET_SECONDS) == 4, "the server has the last word"


def test_as_many_of_ours_are_forgotten_as_the_count_rose_and_no_more() -> None:
    day = Day(10)
    spend(day, 6, 0.0)
    spend(day, 4, BUCKET_SECONDS)
    day.learn(100, 0)
    for said, left in ((102, 2), (102, 2), (108, 8), (109, 9), (200, 10)):
        day.learn(said, 0)
        assert day.remaining(BUCKET_SECONDS) == left


def test_an_exhausted_budget_asks_again_once_a_quarter_of_an_hour() -> None:
    day = Day(5000)
    day.dispatch(0.0)
    day.learn(0, 0)
    asked = []
    for second in range(10_000):
        if day.earliest(float(second)) <= second:
            asked.append(second)
            day.dispatch(float(second))
            day.learn(0, 0)
    assert asked == list(range(int(ASK_AGAIN_SECONDS), 10_000, int(ASK_AGAIN_SECONDS)))
    day.learn(4999, 0)
    assert day.earliest(10_000.0) == 10_000.0
    assert day.remaining(10_000.0) == 4999


def test_an_exhausted_count_of_our_own_asks_again_too_or_waits_for_its_oldest_call() -> None:
    day = Day(1)
    day.dispatch(0.0)
    assert day.earliest(1.0) == ASK_AGAIN_SECONDS
    late = DAY_SECONDS + BUCKET_SECONDS
    day.dispatch(late - 10.0)
    assert day.earliest(late - 5.0) == late
    assert day.earliest(late) == late - 10.0 + ASK_AGAIN_SECONDS, "the second one still counts"


def test_where_the_server_has_nothing_left_our_own_count_does_not_matter() -> None:
    day, late = Day(1), DAY_SECONDS + BUCKET_SECONDS
    day.dispatch(0.0)
    day.dispatch(late - 10.0)
    day.learn(0, 0)
    assert day.earliest(late - 5.0) == late - 10.0 + ASK_AGAIN_SECONDS


@pytest.mark.parametrize("limit", [5, 5000])
def test_a_call_that_never_left_is_uncounted(limit: int) -> None:
    day = Day(limit)
    spend(day, 2, 0.0)
    day.learn(3, 0)
    day.dispatch(1.0)
    day.give_back()
    assert day.remaining(1.0) == 3


def test_giving_back_finds_a_bucket_that_holds_a_call() -> None:
    day = Day(5)
    spend(day, 2, 0.0)
    day.dispatch(BUCKET_SECONDS)
    for left in (3, 4, 5, 5):
        day.give_back()
        assert day.remaining(BUCKET_SECONDS) == left


def test_more_in_line_than_a_day_holds_breaks_nothing() -> None:
    day = Day(5)
    assert day.earliest(7.0, 5) == 7.0
    assert day.earliest(7.0, 4) == 7.0
    day.dispatch(10.0)
    assert day.earliest(20.0, 5) == 10.0 + ASK_AGAIN_SECONDS
    day.learn(5, 0)
    day.learn(1000, 0)
    assert day.earliest(20.0, 5) == 10.0 + ASK_AGAIN_SECONDS


def test_a_doubt_lets_one_call_ask_whatever_was_believed() -> None:
    day = Day(1)
    day.dispatch(0.0)
    day.learn(0, 0)
    assert day.earliest(10.0) == ASK_AGAIN_SECONDS
    day.doubt()
    assert day.doubted
    assert day.earliest(10.0) == 10.0
    day.dispatch(10.0)
    assert day.earliest(11.0) == 10.0 + ASK_AGAIN_SECONDS


@pytest.mark.parametrize("left", [999, 19, 4])
def test_a_smaller_limit_is_learned_where_the_day_began_with_us(left: int) -> None:
    day = Day(5000)
    day.dispatch(0.0)
    day.learn(left, 0)
    assert day.limit == left + 1
    day.dispatch(1.0)
    day.learn(left - 1, 0)
    assert day.limit == left + 1


def test_where_others_may_have_spent_the_rest_no_limit_is_guessed() -> None:
    day = Day(5000)
    day.dispatch(0.0)
    day.learn(640, 0)
    assert day.limit == 5000
    day.dispatch(1.0)
    day.learn(0, 0)
    assert day.limit == 5000


def test_a_limit_is_learned_from_the_answers_to_many_at_once() -> None:
    day = Day(5000)
    spend(day, 5, 0.0)
    day.learn(997, 4)
    assert day.limit == 1000


def test_a_new_day_shows_its_limit_too() -> None:
    day = Day(5000)
    spend(day, 3, 0.0)
    day.learn(640, 0)
    day.dispatch(HOUR)
    day.learn(999, 0)
    assert day.limit == 1000


@pytest.mark.parametrize(("grows", "limit"), [(True, 10_000), (False, 5000)])
def test_a_larger_limit_counts_only_where_ours_is_a_default(grows: bool, limit: int) -> None:
    day = Day(5000, grows=grows)
    day.dispatch(0.0)
    day.learn(9_990, 0)
    assert day.limit == limit
    assert day.record(0.0).shown == 10_000
    other = Day(20, grows=False)
    other.restore(day.record(0.0), 0.0, 0.0)
    assert other.limit == 20


def test_a_plan_that_was_raised_is_noticed() -> None:
    day = Day(5000)
    day.dispatch(0.0)
    day.learn(999, 0)
    day.dispatch(1.0)
    day.learn(4998, 0)
    assert day.limit == 5000


def test_a_day_of_which_nothing_is_left_says_nothing_of_its_limit() -> None:
    day = Day(5000)
    day.dispatch(0.0)
    day.learn(0, 0)
    assert (day.limit, day.remaining(1.0)) == (5000, 0)


steps = st.one_of(
    st.just(("dispatch", 0, 0)),
    st.just(("give_back", 0, 0)),
    st.tuples(st.just("learn"), st.integers(0, 30), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.integers(0, 100_000), st.just(0)),
)


@given(st.integers(1, 20), st.lists(steps, max_size=60))
def test_whatever_happens_the_budget_stays_between_nothing_and_its_limit(
    limit: int, moves: list[tuple[str, int, int]]
) -> None:
    day, now, sent, said = Day(limit), 0.0, 0, False
    for what, number, unaccounted in moves:
        match what:
            case "dispatch":
                day.dispatch(now)
                sent += 1
            case "give_back" if sent:
                day.give_back()
                sent -= 1
            case "learn":
                day.learn(number, unaccounted)
                said = True
                assert day.remaining(now) <= number
                assert 0 < day.limit <= limit
            case "wait":
                now += number
        assert 0 <= day.remaining(now) <= limit
        assert said or day.remaining(now) >= limit - sent
        for ahead in (0, 1, limit, limit + 5):
            earliest = day.earliest(now, ahead)
            assert now <= earliest <= now + ASK_AGAIN_SECONDS
            assert (earliest == now) or day.remaining(now) <= ahead
