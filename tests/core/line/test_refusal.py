"""Why a request gets no permit, in the words that operators see."""

from __future__ import annotations

from proxy.core.limits.decision import Forecast
from proxy.core.line.refusal import Refusal, Why


def test_the_reasons_are_the_labels_of_what_was_shed() -> None:
    assert sorted(Why) == ["deadline", "draining", "hopeless", "queue_full"]


def test_a_refusal_says_what_was_foreseen_and_what_else_stood_in_the_way() -> None:
    assert Refusal.of(Why.DEADLINE, Forecast("day", 9.0, known=False), "minute") == Refusal(
        Why.DEADLINE, "day", 9.0, known=False
    )
    assert Refusal.of(Why.DEADLINE, Forecast("", 9.0), "minute") == Refusal(Why.DEADLINE, "minute", 9.0)


def test_a_refusal_says_what_stood_in_the_way_and_until_when() -> None:
    assert Refusal(Why.HOPELESS, "offline", 300.0) == Refusal(Why("hopeless"), "offline", 300.0)
