"""What a store adds to a request, from its caller to its answer: a sidecar for each store, and the same load
for all of them in turn, round after round.

Sidecars share one core, the load and the upstream (nginx) the other; the servers run wherever there is room.
A round's difference to memory counts, so that a drift of the machine hits both alike.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from tests import servers
from tests.bench.peers.pace import pace
from tests.bench.peers.process import Running, free_port, running
from tests.bench.peers.proxies import Place, sidecar
from tests.bench.peers.tools import cores, missing
from tests.bench.peers.upstream import SMALL, serving
from tests.bench.report import table, verdict

RATE, ROUNDS, SECONDS = 200, 9, 1.5
MOST_MILLISECONDS = 1.0
MEMORY, SQLITE = "memory", "SQLite"

Samples = Mapping[str, Sequence[float]]
"""Of each store, the median latency of each round in milliseconds."""


def report() -> None:
    """Measure every store that this machine can run, and print it."""
    print(
        "### From the caller to the answer\n\n"
        f"p50 of GETs at {RATE} requests a second through a whole sidecar, medians of {ROUNDS} rounds.\n"
    )
    here, reason = cores(), missing("nginx")
    if here is None or reason:
        print(f"Skipped: {reason or 'this needs two cores, one for the sidecars and one for the load'}.")
        return
    samples = _measured(*here)
    more = added(samples)
    rows = [(name, f"{median(rounds):.2f}", f"{more[name]:.2f}") for name, rounds in samples.items()]
    print(table(("", "p50, ms", "added, ms"), rows), end="\n\n")
    for name in [name for name in samples if name not in {MEMORY, SQLITE}]:
        text = f"{name} adds at most {MOST_MILLISECONDS} ms in the median (is {more[name]:.2f})"
        print(verdict(text, holds=more[name] <= MOST_MILLISECONDS))


def added(samples: Samples) -> dict[str, float]:
    """What each took more than memory in the same round, in the median."""
    pairs = {name: zip(rounds, samples[MEMORY], strict=True) for name, rounds in samples.items()}
    return {name: median(took - alone for took, alone in rounds) for name, rounds in pairs.items()}


def _measured(proxy_core: int, load_core: int) -> Samples:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(serving(scratch / "upstream", load_core))
        settings = {MEMORY: {}, SQLITE: {"XERO_PROXY_STATE_FILE": str(scratch / "state.db")}}
        for name, binary in servers.installed().items():
            server = stack.enter_context(servers.server(binary))
            settings[name] = {"XERO_PROXY_REDIS_URL": server.url}
        sidecars = {}
        for name, store in settings.items():
            place = Place(free_port(), upstream.plain, False, scratch / name, sys.executable)
            sidecars[name] = stack.enter_context(_sidecar(place, store, proxy_core))
            pace(sidecars[name], SMALL, RATE, SECONDS, load_core)
        samples: dict[str, list[float]] = {name: [] for name in sidecars}
        for _ in range(ROUNDS):
            for name, process in sidecars.items():
                samples[name].append(pace(process, SMALL, RATE, SECONDS, load_core)[0] / 1000)
    return samples


def _sidecar(place: Place, store: Mapping[str, str], core: int) -> AbstractContextManager[Running]:
    place.directory.mkdir()
    launch = sidecar(place)
    launch = replace(launch, environment={**launch.environment, **store})
    return running(launch, core, place.directory / "output")
