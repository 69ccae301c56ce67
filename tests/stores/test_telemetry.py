"""What operators see of a store over a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.stores.telemetry import StoreTelemetry
from tests.test_telemetry import Operators

COUNTED = {
    "store_operations_total": (("operation", "acquire"), ("outcome", "granted")),
    "store_operation_duration_seconds_count": (("operation", "acquire"),),
    "store_errors_total": (("reason", "timeout"),),
    "store_fallback_seconds_total": (),
    "store_leases_lost_total": (),
}


def use_store(telemetry: StoreTelemetry) -> None:
    telemetry.operation("acquire", "granted", 0.001)
    telemetry.failed("acquire")
    telemetry.error("timeout")
    telemetry.away("timeout")
    telemetry.fallback(1.0)
    telemetry.back(1.0, 4)
    telemetry.lease_lost()


@pytest.fixture
def operators() -> Iterator[Operators]:
    with closing(Operators()) as operators:
        use_store(StoreTelemetry(operators.registry, operators.log))
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
