from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answers.idempotency import KEY_LIFE_SECONDS
from proxy.core.answers.retry import Again, Backoff, Budget, Stop, decide
from proxy.core.answers.tried import Tried
from proxy.core.model import Execution, HoldRule, ResponseClass, Scope
from tests.core.answers.requests import tried

NOW = 1000.0
FAR = 1e9
BACKOFF = Backoff(attempts=4, first=0.5, longest=30.0)

NEVER_SENT = ResponseClass("connect_failed", Execution.NEVER_SENT)
REJECTED = ResponseClass("limit_unnamed", Execution.REJECTED)
UNKNOWN = ResponseClass("upstream_reset", Execution.UNKNOWN)
CACHED = ResponseClass("internal_error", Execution.CACHED)
DONE = ResponseClass("success", Execution.DONE)
ROWS = (NEVER_SENT, REJECTED, UNKNOWN, CACHED, DONE)

READS = ("GET", "HEAD", "OPTIONS", "DELETE")
WRITES = ("POST", "PUT", "PATCH")


def after(history: Tried, row: ResponseClass, **facts: float | Backoff | Budget | None) -> Again | Stop:
    """Record an attempt that ended with `row`, and decide."""
    history.record(row, cast("float | None", facts.get("retry_after")))
    return decide_on(history, row, **facts)


def decide_on(history: Tried, row: ResponseClass, **facts: float | Backoff | Budget | None) -> Again | Stop:
    usual: dict[str, object] = {
        "retry_after": None,
        "deadline": FAR,
        "now": NOW,
        "elapsed": NOW,
        "random": 0.0,
        "backoff": BACKOFF,
        "budget": Budget(0.2),
    }
    return decide(history, row, **{**usual, **facts})  # type: ignore[arg-type] # one dictionary of many types


def held(scope: Scope, seconds: float | str, row: ResponseClass = REJECTED) -> ResponseClass:
    return replace(row, hold=HoldRule(scope, "reason", seconds))


# ---- The table


def unkeyed(method: str) -> Tried:
    return tried(method)


def young(method: str) -> Tried:
    """With a key first sent a little less than its life ago."""
    return tried(method, keyed=True, key_used_at=NOW - KEY_LIFE_SECONDS + 1.0)


def old(method: str) -> Tried:
    return tried(method, keyed=True, key_used_at=NOW - KEY_LIFE_SECONDS)


def with_a_lost_attempt(history: Tried) -> Tried:
    history.record(UNKNOWN)
    return history


YES, NO = Again(NOW, fresh_key=False), Stop("unsafe")
FINAL = Stop()


READS_TABLE = {NEVER_SENT: YES, REJECTED: YES, UNKNOWN: YES, CACHED: YES, DONE: FINAL}
YOUNG_TABLE = {NEVER_SENT: YES, REJECTED: YES, UNKNOWN: YES, CACHED: NO, DONE: FINAL}
OLD_TABLE = {NEVER_SENT: YES, REJECTED: YES, UNKNOWN: NO, CACHED: NO, DONE: FINAL}
LOST_TABLE = {NEVER_SENT: NO, REJECTED: NO, UNKNOWN: NO, CACHED: NO, DONE: FINAL}
"""Once an attempt may have been executed and no key says so, not even a rejection is repeated."""


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize(("row", "expected"), READS_TABLE.items())
def test_what_may_be_done_twice_is_repeated(method: str, row: ResponseClass, expected: Again | Stop) -> None:
    assert after(tried(method), row) == expected
    assert after(with_a_lost_attempt(tried(method)), row) == expected


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(("row", "expected"), YOUNG_TABLE.items())
def test_a_write_with_a_key_in_its_life_is_repeated_but_for_a_500(
    method: str, row: ResponseClass, expected: Again | Stop
) -> None:
    assert after(young(method), row) == expected
    assert after(with_a_lost_attempt(young(method)), row) == expected


@pytest.mark.parametrize("method", [*WRITES, "LINK"])
@pytest.mark.parametrize(("row", "expected"), OLD_TABLE.items())
def test_a_write_without_a_key_or_with_an_old_one_is_repeated_only_where_nothing_was_done(
    method: str, row: ResponseClass, expected: Again | Stop
) -> None:
    assert after(unkeyed(method), row) == expected
    assert after(old(method), row) == expected


@pytest.mark.parametrize("method", [*WRITES, "LINK"])
@pytest.mark.parametrize(("row", "expected"), LOST_TABLE.items())
def test_a_write_that_may_have_been_done_is_never_repeated_without_a_living_key(
    method: str, row: ResponseClass, expected: Again | Stop
) -> None:
    for history in (unkeyed(method), old(method), tried(method, keyed=True)):
        assert after(with_a_lost_attempt(history), row) == expected
    assert after(with_a_lost_attempt(tried(method, key_used_at=NOW)), row) == expected


@given(
    st.sampled_from(WRITES),
    st.booleans(),
    st.none() | st.floats(0.0, NOW),
    st.lists(st.sampled_from(ROWS), min_size=1, max_size=4),
)
def test_after_an_attempt_that_may_have_been_done_all_share_its_key_and_end_with_it(
    method: str, keyed: bool, used_at: float | None, rows: list[ResponseClass]
) -> None:
    history = tried(method, keyed=keyed, own_key=keyed, key_used_at=used_at)
    lost = False
    for row in rows:
        lost = lost or row in {UNKNOWN, CACHED}
        match after(history, row):
            case Again(at, fresh_key):
                assert not (lost and fresh_key)
                assert not lost or (keyed and used_at is not None and at <= used_at + KEY_LIFE_SECONDS)
            case Stop(why):
                assert why or row is DONE


# ---- Keys


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("own", [True, False])
def test_a_new_key_is_taken_after_a_rejection_if_the_old_one_was_ours(row: ResponseClass, own: bool) -> None:
    history = tried("POST", keyed=True, own_key=own, key_used_at=NOW)
    decision = after(history, row)
    if isinstance(decision, Again):
        assert decision.fresh_key == (own and row is REJECTED)


def test_no_new_key_is_taken_once_the_old_one_may_have_been_used() -> None:
    history = with_a_lost_attempt(tried("POST", keyed=True, own_key=True, key_used_at=NOW))
    assert after(history, REJECTED) == Again(NOW, fresh_key=False)


def test_a_key_bounds_only_writes_that_may_have_been_done() -> None:
    history = tried("POST", keyed=True, key_used_at=NOW)
    history.record(NEVER_SENT)
    history.record(REJECTED)
    assert history.key_ends() == inf
    history.record(UNKNOWN)
    assert history.key_ends() == NOW + KEY_LIFE_SECONDS
    assert with_a_lost_attempt(tried("POST")).key_ends() == -inf
    assert with_a_lost_attempt(tried("GET", keyed=True, key_used_at=NOW)).key_ends() == inf


def test_a_repetition_that_would_outlive_its_key_is_not_made() -> None:
    history = young("POST")
    assert after(history, UNKNOWN, retry_after=1.0) == Again(NOW + 1.0, fresh_key=False)
    assert after(young("POST"), UNKNOWN, retry_after=1.1) == Stop("deadline")


# ---- Attempts


def test_attempts_sends_and_failures_are_counted_apart() -> None:
    history = tried("GET")
    for row in (NEVER_SENT, REJECTED, UNKNOWN, held(Scope.API, "backoff")):
        history.record(row)
    assert (history.attempts, history.sends, history.failures, history.doubtful) == (4, 3, 2, True)


@pytest.mark.parametrize(("row", "unknown"), [(NEVER_SENT, False), (REJECTED, False), (UNKNOWN, True)])
def test_only_what_xero_did_not_refuse_may_have_been_executed(row: ResponseClass, unknown: bool) -> None:
    history = tried("DELETE")
    history.record(row)
    history.record(REJECTED)
    assert history.doubtful is unknown


@pytest.mark.parametrize("row", [REJECTED, UNKNOWN])
def test_what_was_sent_and_failed_is_repeated_so_often_and_no_more(row: ResponseClass) -> None:
    history = tried("GET")
    assert [isinstance(after(history, row), Again) for _ in range(3)] == [True] * 3
    assert after(history, row) == Stop("attempts")
    assert after(tried("GET"), row, backoff=Backoff(attempts=1)) == Stop("attempts")


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("row", [NEVER_SENT, held(Scope.API, "backoff"), held(Scope.TENANT, "offline")])
def test_what_was_never_sent_and_what_a_hold_explains_is_repeated_to_the_deadline(
    method: str, row: ResponseClass
) -> None:
    history, budget = tried(method), Budget(0.0)
    while budget.take(NOW):
        pass
    for _ in range(20):
        decision = after(history, row, backoff=Backoff(attempts=1), budget=budget, random=0.5)
        assert isinstance(decision, Again)
    assert after(history, row, deadline=NOW - 0.1) == Stop("deadline")


def test_what_was_never_sent_is_tried_again_before_a_deadline_and_not_without_a_pause() -> None:
    history, now, times = tried("GET"), NOW, list[float]()
    while isinstance(
        decision := after(history, NEVER_SENT, now=now, random=0.999, deadline=NOW + 60.0), Again
    ):
        now = decision.at
        times.append(now)
    assert decision == Stop("deadline")
    assert NOW + 59.0 < times[-1] <= NOW + 60.0
    assert len(times) < 15


# ---- Delays


@given(st.integers(1, 100), st.floats(0.0, 1.0, exclude_max=True))
def test_a_backoff_doubles_up_to_its_longest_and_all_of_it_is_jitter(sends: int, random: float) -> None:
    whole = min(0.5 * 2.0 ** (sends - 1), 30.0)
    assert BACKOFF.delay(sends, random) == pytest.approx(random * whole)


def test_each_attempt_waits_longer_than_the_one_before() -> None:
    history, delays = tried("GET"), []
    for _ in range(3):
        decision = after(history, UNKNOWN, random=0.5)
        assert isinstance(decision, Again)
        delays.append(decision.at - NOW)
    assert delays == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(("retry_after", "delay"), [(None, 0.4), (0.0, 0.4), (0.1, 0.4), (7.0, 7.0)])
def test_the_servers_word_beats_the_backoff(retry_after: float | None, delay: float) -> None:
    assert after(tried("GET"), REJECTED, retry_after=retry_after, random=0.8) == Again(NOW + delay, False)


def test_what_could_only_be_sent_after_the_deadline_is_answered_now() -> None:
    assert after(tried("GET"), REJECTED, retry_after=7.0, deadline=NOW + 7.0) == Again(NOW + 7.0, False)
    assert after(tried("GET"), REJECTED, retry_after=7.0, deadline=NOW + 6.9) == Stop("deadline")
    assert after(tried("GET"), held(Scope.API, "backoff"), deadline=NOW - 0.1) == Stop("deadline")
