"""Close to the limit: calls a minute as a share of the most possible, and 429s, in the simulator's time.

A backlog of `CALLS` calls comes at once to one organisation of the strict simulator with Xero's own limits:
60 a minute, 5 at once. Somebody else, where there is one, has been calling for two minutes and never
repeats.

**Share of the most possible** is T_ideal / T. T runs from the first arrival at the organisation to the last
accepted one, N counts the calls accepted in it, everybody's. T_ideal is the least time for N calls under a
rolling window and 5 at once: `⌊(N − 1) / 60⌋ × 60 s`, and for what the last window holds, five calls every
mean call time (transit and latency).

**Limit used** is how many accepted calls, everybody's, the last 60 s held, averaged over T, as a share of 60.
Unlike the first it does not jump by a whole window when one call more or less fell into T, which somebody
else's calls decide; so it is the measure beside somebody else.

The bounds are those of rolling windows in both kinds of window, since 60 in any 60 s is what the proxy
promises. Under fixed windows others may therefore be above 1: they send 60 just before a reset and 60
just after it, which a rolling window answers with 429s.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import product
from random import Random
from statistics import median

from proxy.clock import Clock
from proxy.simulator.windows import WindowKind
from tests.bench import clients
from tests.bench.clients import Client
from tests.bench.organisation import Arrivals, Organisation, Setting, run
from tests.bench.report import table, verdict
from tests.bench.sidecar import proxied

CALLS = 600
SEEDS = range(5)
FOREIGN_PER_MINUTE = 24.0
HEAD_START_SECONDS = 120.0
"""How long somebody else has been calling when the backlog comes."""
LIMIT, WINDOW, CONCURRENT = 60, 60.0, 5

OURS = "xero-proxy"
CLIENTS: dict[str, Client] = {
    OURS: proxied,
    "sleeps on Retry-After, 5 workers": clients.sleeping,
    "sleeps on Retry-After, unbounded": clients.unbounded,
    "aiolimiter (60, 60), 5 workers": clients.leaky_bucket,
    "limits moving window, 5 workers": clients.moving_window,
    "one call a second, 5 workers": clients.spaced,
    "exponential backoff, 5 workers": clients.backing_off,
}
SHARE_ALONE, USED_BESIDE, REFUSED_BESIDE = 0.98, 0.93, 0.05


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `seconds` is T; `refused` counts the 429s that our calls met."""

    seconds: float
    accepted: int
    share: float
    used: float
    refused: int


def measure(client: Client, setting: Setting, calls: int, seed: int) -> Result:
    """Let `client` work off `calls` calls."""
    return run(_measure(client, setting, calls, seed))


def ideal_seconds(calls: int, call_seconds: float) -> float:
    """The least time from the first to the last arrival of so many calls."""
    windows, place = divmod(calls - 1, LIMIT)
    return windows * WINDOW + place // CONCURRENT * call_seconds


def limit_used(times: list[float], first: float, last: float) -> float:
    """Calls that the last window held, averaged from `first` to `last`, as a share of the limit."""
    held = (min(at + WINDOW, last) - max(at, first) for at in times)
    return sum(max(0.0, seconds) for seconds in held) / (LIMIT * (last - first))


async def _measure(client: Client, setting: Setting, calls: int, seed: int) -> Result:
    organisation = Organisation(setting, Clock(), seed)
    others = asyncio.ensure_future(organisation.somebody_else())
    try:
        await organisation.clock.sleep_until(organisation.clock.now() + HEAD_START_SECONDS)
        await client(organisation, calls, Random(seed))
    finally:
        others.cancel()
    call_seconds = sum(setting.latency) / 2 + setting.jitter / 2
    return _result(organisation.arrivals, call_seconds)


def _result(arrivals: Arrivals, call_seconds: float) -> Result:
    first, last = arrivals.first, arrivals.ours[-1]
    accepted = len(arrivals.ours) + sum(first <= at <= last for at in arrivals.foreign)
    share = ideal_seconds(accepted, call_seconds) / (last - first)
    used = limit_used(arrivals.ours + arrivals.foreign, first, last)
    return Result(last - first, accepted, share, used, arrivals.refused)


def report() -> None:
    """Run everything and print it."""
    print(
        "## Close to the limit\n\n"
        f"{CALLS} calls that come at once to one organisation, 60 a minute and 5 at once,\n"
        f"latency 50 to 300 ms, jitter 0 to 150 ms, {len(SEEDS)} seeds; median, worst in brackets.\n"
        "Simulator time.\n"
    )
    print(_DEFINITIONS)
    for foreign, windows in product((0.0, FOREIGN_PER_MINUTE), WindowKind):
        setting = Setting(windows, foreign)
        company = f"beside somebody else's {foreign:.0f} random calls a minute" if foreign else "alone"
        results = {
            name: [measure(client, setting, CALLS, seed) for seed in SEEDS]
            for name, client in CLIENTS.items()
        }
        print(f"\n### {windows.capitalize()} windows, {company}\n")
        print(_table(results), end="\n\n")
        print(*(_beside if foreign else _alone)(results[OURS]), sep="\n")


_DEFINITIONS = """\
- share: T_ideal / T. T runs from the first arrival to the last accepted one, T_ideal is the least time for as
  many calls as were accepted in it (N, everybody's): floor((N - 1) / 60) x 60 s, then 5 every mean call time.
- used: the calls that the last 60 s held, everybody's, averaged over T, as a share of 60. It does not jump by
  a window when somebody else's calls move N by one.
- 429s: those that our calls met, of any limit, repetitions included. Somebody else, where there is one, has
  been calling for two minutes and never repeats.
- Both are bounds of rolling windows. Where windows are fixed, who gambles on their reset can be above 1.
- `limits` reads time.time, which is replaced by the simulator's clock; aiolimiter takes the event loop's."""


def _table(results: dict[str, list[Result]]) -> str:
    columns = ("", "share", "used", "seconds", "429s", "429s per call")
    rows = [
        (
            name,
            _middle([run.share for run in runs], min, ".3f"),
            _middle([run.used for run in runs], min, ".3f"),
            _middle([run.seconds for run in runs], max, ".0f"),
            _middle([run.refused for run in runs], max, ".0f"),
            f"{median(run.refused for run in runs) / CALLS:.1%}",
        )
        for name, runs in results.items()
    ]
    return table(columns, rows)


def _middle(values: list[float] | list[int], worst: object, form: str) -> str:
    end = min(values) if worst is min else max(values)
    return f"{format(median(values), form)} ({format(end, form)})"


def _alone(runs: list[Result]) -> list[str]:
    return [
        verdict(
            f"share at least {SHARE_ALONE}, every seed", holds=min(run.share for run in runs) >= SHARE_ALONE
        ),
        verdict("no 429, every seed", holds=not any(run.refused for run in runs)),
    ]


def _beside(runs: list[Result]) -> list[str]:
    return [
        verdict(
            f"limit used at least {USED_BESIDE}, every seed",
            holds=min(run.used for run in runs) >= USED_BESIDE,
        ),
        verdict(
            f"429s at most {REFUSED_BESIDE:.0%} of our calls, every seed",
            holds=max(run.refused for run in runs) <= REFUSED_BESIDE * CALLS,
        ),
    ]
