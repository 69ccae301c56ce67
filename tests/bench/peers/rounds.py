"""All proxies in turn, round after round."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.bench.peers.process import Failed, Running, running
from tests.bench.peers.proxies import DIRECT, PROXIES, placed
from tests.bench.peers.upstream import Upstream

ROUNDS, QUICK_ROUNDS = 5, 1
NAMES = (DIRECT, *PROXIES)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted: how many rounds, which proxies and parts, and the interpreter for those in Python."""

    rounds: int = ROUNDS
    proxies: Sequence[str] = NAMES
    parts: Sequence[str] = ()
    python: str = sys.executable


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part needs while the upstream runs."""

    plan: Plan
    upstream: Upstream
    directory: Path
    proxy_core: int
    load_core: int

    @contextlib.contextmanager
    def started(self, part: str, *, tls: bool = False) -> Iterator[dict[str, Running]]:
        """All proxies of the plan as long as a part takes; the upstream itself too, but not over TLS."""
        with contextlib.ExitStack() as stack:
            processes = {}
            for name in self.plan.proxies:
                if name != DIRECT:
                    processes[name] = stack.enter_context(self.one(part, name, tls=tls))
                elif not tls:
                    processes[name] = Running(0, self.upstream.plain, 0.0)
            yield processes

    @contextlib.contextmanager
    def one(self, part: str, name: str, *, tls: bool = False) -> Iterator[Running]:
        """One proxy, with a directory of its own."""
        place = self.directory / part / name.replace(" ", "-")
        launch = placed(name, self.upstream, place, self.plan.python, tls=tls)
        with running(launch, self.proxy_core, place / "output") as process:
            yield process

    def in_turn(
        self, processes: Mapping[str, Running], measure: Callable[[Running], T]
    ) -> dict[str, list[T]]:
        """What each measured in each round. Raises `Failed` naming the proxy."""
        results: dict[str, list[T]] = {name: [] for name in processes}
        for _ in range(self.plan.rounds):
            for name, result in once(processes, measure).items():
                results[name].append(result)
        return results


def once(processes: Mapping[str, Running], measure: Callable[[Running], T]) -> dict[str, T]:
    """What each measures, one after the other. Raises `Failed` naming the proxy."""
    results = {}
    for name, process in processes.items():
        try:
            results[name] = measure(process)
        except Failed as error:
            raise Failed(f"{name}: {error}") from error
    return results
