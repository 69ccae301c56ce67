from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.simulator.windows import Fixed, Rolling, Window, WindowKind, window

SECONDS = 60.0
# Multiples of 1/8 are exact in binary, so that "exactly 60 seconds later" is what it says.
GAPS = st.lists(st.integers(0, 200).map(lambda eighths: eighths / 8), max_size=120)
LIMITS = st.integers(1, 8)
KINDS = st.sampled_from(list(WindowKind))
PHASES = st.integers(0, 479).map(lambda eighths: eighths / 8)


def taken(counted: Window, gaps: list[float]) -> list[float]:
    now, times = 1000.0, []
    for gap in gaps:
        now += gap
        if counted.take(now):
            times.append(now)
    return times


@given(LIMITS, GAPS)
def test_no_rolling_window_ever_holds_more_than_the_limit(limit: int, gaps: list[float]) -> None:
    times = taken(Rolling(limit, SECONDS), gaps)
    for end in times:
        assert sum(end - SECONDS < time <= end for time in times) <= limit


@given(LIMITS, GAPS, PHASES)
def test_no_fixed_window_ever_holds_more_than_the_limit(limit: int, gaps: list[float], phase: float) -> None:
    times = taken(Fixed(limit, SECONDS, phase), gaps)
    windows = Counter((time - phase) // SECONDS for time in times)
    assert all(count <= limit for count in windows.values())


@given(KINDS, LIMITS, GAPS, PHASES)
def test_remaining_and_counted_make_the_limit(
    kind: WindowKind, limit: int, gaps: list[float], phase: float
) -> None:
    counted, now = window(kind, limit, SECONDS, phase), 1000.0
    for gap in gaps:
        now += gap
        counted.take(now)
        assert counted.remaining(now) + counted.counted(now) == limit


@given(KINDS, LIMITS, GAPS, PHASES)
def test_a_call_is_taken_exactly_if_retry_after_is_zero(
    kind: WindowKind, limit: int, gaps: list[float], phase: float
) -> None:
    counted, now = window(kind, limit, SECONDS, phase), 1000.0
    for gap in gaps:
        now += gap
        wait = counted.retry_after(now)
        assert counted.take(now) is (wait == 0)


@given(KINDS, LIMITS, GAPS, PHASES)
def test_retry_after_is_the_first_whole_second_at_which_a_call_passes(
    kind: WindowKind, limit: int, gaps: list[float], phase: float
) -> None:
    counted = window(kind, limit, SECONDS, phase)
    now = max(taken(counted, gaps), default=1000.0)
    wait = counted.retry_after(now)
    if wait > 1:
        assert not counted.take(now + wait - 1)
    assert counted.take(now + wait)


@pytest.mark.parametrize("kind", list(WindowKind))
def test_calls_counted_over_the_limit_leave_nothing_and_prolong_a_rolling_wait(kind: WindowKind) -> None:
    counted = window(kind, 2, SECONDS, 0.0)
    for now in (0.0, 1.0, 2.0):
        counted.count(now)
    assert counted.remaining(2.0) == 0
    assert counted.retry_after(2.0) == {WindowKind.ROLLING: 59, WindowKind.FIXED: 58}[kind]


def test_a_call_leaves_a_rolling_window_at_exactly_its_end() -> None:
    counted = Rolling(1, 60.0)
    assert counted.take(0.1)
    assert not counted.take(60.09)
    assert counted.take(0.1 + 60.0)
