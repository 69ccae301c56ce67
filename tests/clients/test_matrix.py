"""The table says of nothing that it passed without a test that shows it."""

from __future__ import annotations

from tests.clients.conftest import SCENARIO_OF
from tests.clients.matrix import CANNOT, CLIENTS, SCENARIOS


def test_every_scenario_of_the_table_is_played() -> None:
    assert set(SCENARIO_OF.values()) == set(SCENARIOS)


def test_what_cannot_be_is_a_cell_of_the_table() -> None:
    assert {client for client, _ in CANNOT} <= set(CLIENTS)
    assert {scenario for _, scenario in CANNOT} <= set(SCENARIOS)
