"""`report` runs what is wanted of this part of the bench, and says what cannot be run."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from pathlib import Path

from tests.bench.peers import TENANTS
from tests.bench.peers.parts import PARTS
from tests.bench.peers.process import Failed
from tests.bench.peers.proxies import absent, versions
from tests.bench.peers.rounds import Bench, Plan
from tests.bench.peers.tools import cores, missing
from tests.bench.peers.upstream import serving


def report(plan: Plan) -> None:
    """Run and print."""
    here, interpreter = cores(), _interpreter(plan.python)
    print(
        "## Beside other proxies\n\n"
        "Each proxy on one core; the load and the upstream (nginx) share the other. All take turns\n"
        f"in every round; shown are medians of {plan.rounds}, and ÷ is the ratio to a peer in the same run.\n"
        f"CPU is user and system time of a proxy's processes. xero-proxy does its whole job for {TENANTS}\n"
        "organisations, the textbook proxy all of it but the limits; the others pass bytes.\n\n"
        f"- {versions()}\n"
        f"- xero-proxy and the textbook proxy run on {interpreter}\n",
        flush=True,
    )
    if reason := missing("nginx") or missing("wrk"):
        print(f"Skipped: {reason}.")
        return
    if here is None:
        print("Skipped: this needs two cores, one for the proxy and one for the load.")
        return
    lacking = {name: reason for name in plan.proxies if (reason := absent(name))}
    for name, reason in lacking.items():
        print(f"Skipped {name}: {reason}.\n")
    plan = dataclasses.replace(plan, proxies=[name for name in plan.proxies if name not in lacking])
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch, "upstream"), here[1]) as upstream:
        bench = Bench(plan, upstream, Path(scratch), *here)
        for name in plan.parts:
            print(f"### {PARTS[name].__doc__}\n\n{_measured(name, bench)}\n", flush=True)


def _measured(name: str, bench: Bench) -> str:
    try:
        return PARTS[name](bench)
    except Failed as error:
        return f"NOT MEASURED: {error}"


def _interpreter(python: str) -> str:
    command = (python, "-m", "tests.bench.interpreter")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
