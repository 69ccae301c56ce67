"""What operators see of a store over a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.operators import Operators, use_store

COUNTED = {
    "store_operations_total": (("operation", "acquire"), ("outcome", "granted")),
    "store_operation_duration_seconds_count": (("operation", "acquire"),),
    "store_errors_total": (("reason", "timeout"),),
    "store_fallback_seconds_total": (),
    "store_leases_lost_total": (),
}


@pytest.fixture
def operators() -> Iterator[Operators]:
    with closing(Operators()) as operators:
        use_store(operators.store)
        yield operators


@pytest.mark.parametrize("name", COUNTED)
def test_what_a_store_does_is_counted(name: str, operators: Operators) -> None:
    assert operators.samples(name)[COUNTED[name]] == 1


def test_a_call_without_an_answer_has_no_duration(operators: Operators) -> None:
    assert operators.samples("store_operations_total")[("operation", "acquire"), ("outcome", "failed")] == 1


def test_going_away_and_coming_back_are_a_line_each(operators: Operators) -> None:
    away, back = operators.lines()
    assert (away["event"], away["level"], away["reason"]) == ("store_away", "warning", "timeout")
    assert (back["event"], back["seconds"], back["replicas"]) == ("store_back", 1.0, 4)
