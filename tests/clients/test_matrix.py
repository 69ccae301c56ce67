"""The table says of nothing that it passed without a test that shows it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.clients.matrix import CANNOT, CLIENTS, SCENARIOS


def test_every_scenario_of_the_table_is_played() -> None:
    played = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        played |= set(
            re.findall(
                r'^@pytest.mark.parametrize\("client", clients\("(\w+)"\)\)$', path.read_text(), re.MULTILINE
            )
        )
    assert played == set(SCENARIOS)


def test_what_cannot_be_is_a_cell_of_the_table() -> None:
    assert {client for client, _ in CANNOT} <= set(CLIENTS)
    assert {scenario for _, scenario in CANNOT} <= set(SCENARIOS)
