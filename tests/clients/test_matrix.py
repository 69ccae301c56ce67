"""The table says of nothing that it passed without a test that shows it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.clients.matrix import CANNOT, CLIENTS, SCENARIOS

PLAYS = re.compile(r'^@pytest.mark.parametrize\("client", clients\("(\w+)"\)\)$', re.MULTILINE)


def test_every_scenario_of_the_table_is_played() -> None:
    tests = Path(__file__).parent.glob("test_*.py")
    assert {name for path in tests for name in PLAYS.findall(path.read_text("utf-8"))} == set(SCENARIOS)


def test_what_cannot_be_is_a_cell_of_the_table() -> None:
    assert {client for client, _ in CANNOT} <= set(CLIENTS)
    assert {scenario for _, scenario in CANNOT} <= set(SCENARIOS)
