"""`python -m tests.corpus`: what xero-proxy, nginx and HAProxy do with the rows, as a table of counts."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter

from tests.bench.report import table
from tests.corpus.peers import PEERS, installed, run_peer
from tests.corpus.rows import ABSENT, Row, read_rows
from tests.corpus.runner import Outcome, run_responses
from tests.corpus.runner import run_requests as run_sidecar
from tests.corpus.strict import Incomplete, Malformed, read_response
from tests.corpus.test_requests import HOSTS

EXPECTATIONS = ("accept", "normalise", "either", "reject")
VERDICTS = ("forwarded", "refused", "closed or cut", "malformed", "desynchronised")
LEGEND = """\
Counts in the order {}. A response that is passed on counts as forwarded.
Malformed: forwarded as something in which the origin, reading strictly, finds no request. Desynchronised: the
origin got more requests than the caller got answers, or a caller got more than its own answer, or less.
nginx and HAProxy run with their defaults; xero-proxy goes by every host name in the corpus.
"""


def of_request(outcome: Outcome) -> str:
    """What became of a request, as one of the verdicts."""
    if outcome.desynchronised or not outcome.alive:
        return "desynchronised"
    if outcome.malformed:
        return "malformed"
    if outcome.forwarded:
        return "forwarded"
    return "refused" if outcome.answered.statuses else "closed or cut"


def of_response(outcome: Outcome) -> str:
    """What became of a response, as one of the verdicts."""
    try:
        got, rest = read_response(outcome.answered.received)
    except Incomplete:
        return "closed or cut"
    except Malformed:
        return "malformed"
    if rest or not outcome.alive:
        return "desynchronised"
    return "refused" if got.status in {502, 503, 504} else "forwarded"


def count(rows: list[Row], outcomes: dict[str, Outcome]) -> Counter[tuple[str, str, str]]:
    """How many rows of each kind and expectation met each verdict."""
    verdicts = {"request": of_request, "response": of_response}
    return Counter((row.kind, row.expect, verdicts[row.kind](outcomes[row.id])) for row in rows)


def main() -> None:
    """Run what is there, and print the table."""
    requests, responses = read_rows("request"), read_rows("response")
    if not requests:
        sys.exit(ABSENT)
    rows = [*requests, *responses]
    found = {"xero-proxy": run_sidecar(requests, HOSTS) | run_responses(responses)}
    for name in PEERS:
        if program := installed(name):
            shown = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
            version = re.search(r"[0-9]+\.[0-9]+\.[0-9]+", shown.stdout + shown.stderr)
            found[f"{name} {version[0] if version else '?'}"] = asyncio.run(
                run_peer(name, requests, responses)
            )
        else:
            sys.stdout.write(f"SKIPPED: {name} is not installed (apt-get install {name})\n")
    counted = {name: count(rows, outcomes) for name, outcomes in found.items()}
    lines = []
    for kind in ("request", "response"):
        for expect in EXPECTATIONS:
            if size := sum(row.kind == kind and row.expect == expect for row in rows):
                cells = [
                    " / ".join(str(counts[kind, expect, verdict]) for verdict in VERDICTS)
                    for counts in counted.values()
                ]
                lines.append([f"{kind}s to {expect}", str(size), *cells])
    sys.stdout.write(LEGEND.format(" / ".join(VERDICTS)) + "\n")
    sys.stdout.write(table(["messages", "rows", *counted], lines) + "\n")


main()
