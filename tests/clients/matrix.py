"""Which client is driven through which scenario, and the cells that cannot be, with the reason.

The tests take their parameters from here, so a cell without a reason is one that passes.
"""

from __future__ import annotations

from collections.abc import Mapping

PASSED = "passed"
CLIENTS = {
    "xero-python": "xero-python 15.2",
    "pyxero": "pyxero 0.9",
    "xero-node": "xero-node 20",
    "xero-mcp-server": "xero-mcp-server 0.0.17",
    "requests": "requests",
    "httpx": "httpx",
    "curl": "curl",
}

SCENARIOS = {
    "pages": "reads page by page",
    "saves": "creates and updates",
    "attachment": "5 MB up and down again",
    "where": "filters with `where`",
    "connections": "lists its connections",
    "refresh": "refreshes its token",
    "limits": "calls as fast as it can: all are answered, no 429 at Xero",
    "day": "learns that the day's calls are spent, at once",
    "offline": "outlasts an offline organisation",
    "offline_for_long": "learns that the organisation is offline",
    "maintenance": "outlasts maintenance",
    "lost": "outlasts lost replies: each write executed once",
    "cut": "never takes half a file for the whole",
    "unknown": "learns that a write's outcome is unknown: executed once",
    "drained": "learns that the sidecar ended in the middle of its write: executed once",
    "expired": "learns that its token expired, and goes on with a new one",
    "at_limits": "does all of its everyday at its limits",
    "again_offline": "… with the organisation offline before each step",
    "again_maintenance": "… with maintenance before each step",
    "again_lost": "… with the first reply to each step lost: each write executed once",
    "again_expired": "… with a token that expires before each step",
    "large": "learns that a body is too large",
    "answers": "understands every answer of the proxy's own",
}

_NO_TOOL = "no tool for it"
_NEW_TOKENS = "takes a new token for every call"
CANNOT = {
    ("xero-mcp-server", "attachment"): _NO_TOOL,
    ("xero-mcp-server", "cut"): _NO_TOOL,
    ("xero-mcp-server", "where"): _NO_TOOL,
    ("xero-mcp-server", "large"): _NO_TOOL,
    ("xero-mcp-server", "expired"): _NEW_TOKENS,
    ("xero-mcp-server", "again_expired"): _NEW_TOKENS,
}


def clients(scenario: str) -> list[str]:
    """The clients that a scenario is run with."""
    return [client for client in CLIENTS if (client, scenario) not in CANNOT]


def rows(outcomes: Mapping[tuple[str, str], str] | None = None) -> list[list[str]]:
    """The table for people: scenarios down, clients across; with the `outcomes` of a run, what it showed."""
    return [
        [what, *(_cell(client, scenario, outcomes) for client in CLIENTS)]
        for scenario, what in SCENARIOS.items()
    ]


def _cell(client: str, scenario: str, outcomes: Mapping[tuple[str, str], str] | None) -> str:
    if reason := CANNOT.get((client, scenario)):
        return reason
    return PASSED if outcomes is None else outcomes.get((client, scenario), "not run")
