"""Why a request gets no permit, in the words that operators see."""

from __future__ import annotations

from proxy.core.refusal import Refusal, Why


def test_the_reasons_are_the_labels_of_what_was_shed() -> None:
    assert sorted(Why) == ["deadline", "draining", "hopeless", "queue_full"]


def test_a_refusal_says_what_stood_in_the_way_and_until_when() -> None:
    assert Refusal(Why.HOPELESS, "offline", 300.0) == Refusal(Why("hopeless"), "offline", 300.0)
