"""The end of the run: what conforms, in numbers."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said = [
        str(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, value in report.user_properties
        if name == "conformance"
    ]
    if said:
        terminalreporter.section("direct, and through the sidecar")
        for line in said:
            terminalreporter.write_line(line)
