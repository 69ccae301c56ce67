"""Whose fault a 429 is, how near the limit was, and what counts as answered."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from proxy.demo.load import ORGANISATIONS, plan
from proxy.demo.tally import Refusals, Tally, refusals, share_used
from proxy.simulator.ledger import Entry


def entries(*calls: tuple[float, int]) -> list[Entry]:
    return [
        Entry(number, time, "app", "t", "GET", "/", "", status, "answered", executed=True, replayed=False)
        for number, (time, status) in enumerate(calls)
    ]


@pytest.mark.parametrize(
    ("calls", "refused", "shared", "expected"),
    [
        ([(0, 200), (1, 429)], {"minute": 1}, True, Refusals(0, 1)),
        ([(0, 200), (1, 429)], {"minute": 1}, False, Refusals(1, 0)),
        ([(0, 200), (1, 200), (2, 429)], {"minute": 1}, True, Refusals(1, 0)),
        ([(0, 200), (1, 503), (6, 429)], {"minute": 1}, True, Refusals(0, 1)),
        ([(0, 200), (1, 429)], {"concurrent": 1}, True, Refusals(1, 0)),
        ([(0, 429), (1, 429)], {"minute": 1, "day": 1}, True, Refusals(1, 1)),
    ],
    ids=["theirs", "nobody-else", "ours-too-many", "ours-have-left", "not-the-minute", "in-doubt-ours"],
)
def test_only_what_our_own_calls_do_not_explain_is_blamed_on_somebody_else(
    calls: list[tuple[float, int]], refused: dict[str, int], shared: bool, expected: Refusals
) -> None:
    assert refusals(entries(*calls), Counter(refused), shared=shared, limit=2, window=6.0) == expected


def test_the_share_of_the_limit_is_one_where_each_window_begins_as_the_last_one_ends() -> None:
    best = [float(number // 3 * 6) for number in range(10)]
    assert share_used(best, 3, 6.0) == 1.0
    assert share_used([time * 2 for time in best], 3, 6.0) == 0.5
    assert share_used(best[:3], 3, 6.0) is None
    assert share_used([], 3, 6.0) is None


def test_answers_other_than_success_are_failures_until_the_demo_is_interrupted() -> None:
    tally = Tally()
    marks = {"X-Xero-Proxy-Attempts": "3", "Server-Timing": 'queue;dur=1500.0;desc="minute", upstream;dur=2'}
    tally.ended(200, marks, urgent=False, interrupted=False)
    tally.ended(204, {"Server-Timing": "queue;dur=20.0"}, urgent=True, interrupted=True)
    tally.ended(0, {}, urgent=False, interrupted=False)
    tally.ended(503, {"X-Xero-Proxy-Attempts": "0"}, urgent=False, interrupted=True)
    assert (tally.answered, tally.failed, tally.given_up, tally.retries) == (2, 1, 1, 2)
    assert (tally.waits, tally.urgent_waits) == ([1.5], [0.02])


def test_being_told_at_once_that_an_organisation_is_offline_is_no_failure() -> None:
    tally = Tally()
    for name in ("offline", "refused_offline", "refused_minute"):
        tally.ended(503, {"X-Xero-Proxy-Class": name}, urgent=False, interrupted=False)
    assert (tally.told, tally.failed) == (2, 1)


def test_no_two_planned_writes_are_alike_so_that_a_double_is_one() -> None:
    planned = plan(Random(1))
    writes = [(request.organisation, request.target, request.body) for request in planned if request.body]
    assert len(set(writes)) == len(writes) > 100
    assert planned == sorted(planned, key=lambda request: request.at)
    assert {request.organisation for request in planned} == set(ORGANISATIONS)
