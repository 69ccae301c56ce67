"""The window while others use the same limit and ours are under way."""

from __future__ import annotations

import pytest

from proxy.core.limits.window import COMPANY_WINDOWS, HEARING_SECONDS, Window
from tests.core.limits.test_window import SECONDS, SPAN, told


def crowded(window: Window | None = None, at: float = 0.0) -> Window:
    """Nine of ten are taken, five of them ours of which one hangs; the last response left one."""
    window = window or Window(10, SECONDS)
    for _ in range(5):
        window.dispatch(at)
    for remaining in (4, 3, 2, 1):
        window.learn(at, at + 0.3, remaining, at + 0.3)
        window.settle(at + 0.3)
    assert window.occupied(at + 0.3) == 9
    return window


def test_the_word_of_the_server_is_not_overtaken_while_others_are_there() -> None:
    window = crowded()
    assert window.free(0.4) == 0, "the one under way may have the last place"
    window.settle(0.4)
    assert window.free(0.4) == 1


def test_one_call_that_hangs_holds_nobody_up() -> None:
    window = crowded()
    earliest = window.earliest(0.4)
    assert earliest == pytest.approx(HEARING_SECONDS)
    assert earliest is not None
    assert window.free(earliest) == 1
    assert window.earliest(0.4, 1) == pytest.approx(0.3 + SPAN), "for those behind it changes nothing"


def test_where_the_window_is_full_the_later_time_counts() -> None:
    window = crowded()
    window.dispatch(0.5)
    assert window.free(0.6) == 0
    earliest = window.earliest(0.6)
    assert earliest == pytest.approx(0.3 + SPAN)
    assert window.earliest(0.3 + SPAN - 0.01) == earliest


def test_others_who_are_not_heard_of_for_long_are_gone() -> None:
    gone = 0.3 + COMPANY_WINDOWS * SPAN
    for at, free in ((gone - 0.2, 0), (gone + 0.2, 1)):
        window = crowded()
        window.settle(1.0)
        for _ in range(9):
            window.dispatch(at)
        window._read = (at, 8, window._gone(at))
        assert window.free(at) == free


def test_places_that_were_free_before_the_servers_word_do_not_count_again() -> None:
    window = Window(10, SECONDS)
    told(window, 5, sent_at=0.0, head_at=0.0)
    assert crowded(window, at=61.0).free(61.4) == 0


def test_places_that_became_free_since_the_servers_word_count() -> None:
    window = Window(10, SECONDS)
    assert told(window, 5, sent_at=0.5, head_at=0.5) == 4
    for _ in range(3):
        window.dispatch(60.2)
    assert window.learn(60.2, 60.3, 1, 60.3) == 1
    window.settle(60.3)
    assert window.free(60.4) == 0
    assert window.free(0.6 + SPAN) == 4, "five have left, and one that was free may be taken twice"
