"""The table of the faults is what the tests say: `python -m tests.faults > deploy/faults.md`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults.__main__ import FILE, faults, table

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "tests/faults").glob("test_*.py"))


def test_the_table_of_the_faults_is_current() -> None:
    assert (ROOT / FILE).read_text("utf-8") == table()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_fault_has_its_right_behaviour(path: Path) -> None:
    rows = list(faults(ast.parse(path.read_text("utf-8"))))
    assert rows
    assert [fault for fault, right in rows if not right] == []
