"""The end of the run: which client got through which scenario, and what conforms, in numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.matrix import CLIENTS, PASSED, rows

PLAYS = re.compile(
    r'^@pytest.mark.parametrize\("client", clients\("(?P<scenario>\w+)"\)\)\n'
    r"(?:@.*\n)*async def (?P<test>\w+)",
    re.MULTILINE,
)
SCENARIO_OF = {
    found["test"]: found["scenario"]
    for path in Path(__file__).parent.glob("test_*.py")
    for found in PLAYS.finditer(path.read_text("utf-8"))
}
"""By the test that plays it."""
CASE = re.compile(r"::(?P<test>\w+)\[(?P<client>[\w-]+)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = {
        outcome: terminalreporter.stats.get(outcome, []) for outcome in (PASSED, "skipped", "failed", "error")
    }
    played = {
        (case["client"], SCENARIO_OF[case["test"]]): outcome
        for outcome, those in reports.items()
        for report in those
        if (case := CASE.search(report.nodeid)) and case["test"] in SCENARIO_OF
    }
    if played:
        terminalreporter.section("clients")
        for cells in (["", *CLIENTS], *rows(played)):
            terminalreporter.write_line("| " + " | ".join(cells) + " |")
    said = [
        str(value)
        for report in reports[PASSED] + reports["failed"]
        for name, value in report.user_properties
        if name == "conformance"
    ]
    if said:
        terminalreporter.section("direct, and through the sidecar")
        for line in said:
            terminalreporter.write_line(line)
