"""`python -m tests.soak`: run one soak and print what it found; 1 if anything is not as it must be."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys

from tests.soak.account import Slope, slope
from tests.soak.run import Soak, soak

WARM_UP = 0.4
"""Share of the time whose memory does not count."""
SHORTEST_FOR_MEMORY = 300.0
"""Seconds below which a slope of the memory says nothing."""
MOST_MIB_AN_HOUR = 1.0


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long requests are sent (600)")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second (1,000)")
    parser.add_argument("--seed", type=int, default=0, help="of load and faults")
    chosen = parser.parse_args()
    found = asyncio.run(soak(chosen.seconds, chosen.rate, chosen.seed))
    wrong = breaches(found)
    sys.stdout.write("\n".join([*figures(found, chosen.rate), "", *verdict(found, wrong), ""]))
    return 1 if wrong else 0


def figures(found: Soak, rate: float) -> list[str]:
    """What happened, in lines."""
    account = found.account
    reached = account.sent / found.seconds if found.seconds else 0.0
    load, simulator = found.others
    spent = f"sidecar {found.cpu:.1f}, load {load:.1f}, simulator {simulator:.1f}"
    lines = [
        f"# Soak: {account.sent:,} requests in {found.seconds:.0f} s, {reached:,.0f} a second",
        f"CPython {platform.python_version()}, {os.cpu_count()} cores for load, sidecar and simulator",
        f"Processor seconds: {spent}",
    ]
    if reached < 0.95 * rate:
        lines.append(f"The {rate:,.0f} a second that were asked for were NOT reached on this machine.")
    answers = sorted(account.statuses.items(), key=lambda pair: -pair[1])
    lines += ["", *(f"{times:>9,}  {what}" for what, times in answers)]
    lines += [f"{account.cut:>9,}  cut off as Xero's answer was", f"{account.left:>9,}  callers left"]
    return lines


def breaches(found: Soak) -> list[str]:
    """What must not be; empty where all is well."""
    wrong = found.account.breaches()
    if found.unended:
        wrong.append(f"{found.unended} requests never ended in the sidecar")
    before, after = found.files
    if after > before:
        wrong.append(f"{after} files are open, {before} were before the load")
    growth = trend(found)
    long = found.seconds >= SHORTEST_FOR_MEMORY
    if long and growth.least > MOST_MIB_AN_HOUR:
        wrong.append(f"memory grows by {growth.per_hour:.1f} MiB an hour, at least by {growth.least:.1f}")
    return wrong


def trend(found: Soak) -> Slope:
    """How memory grows after the warm-up."""
    return slope(found.memory[int(len(found.memory) * WARM_UP) :])


def verdict(found: Soak, wrong: list[str]) -> list[str]:
    """Whether all is well, and how sure that is of memory."""
    growth, (before, after) = trend(found), found.files
    sure = "" if growth.most < MOST_MIB_AN_HOUR else "; too short to be sure"
    first, last = found.memory[0][1], found.memory[-1][1]
    gained = f"{growth.per_hour:+.1f} MiB an hour ({growth.least:+.1f} to {growth.most:+.1f})"
    lines = [
        f"Files: {before} before, {after} after. Memory: {first:.1f} MiB at first, {last:.1f} at last,",
        f"after the first {WARM_UP:.0%} of the time {gained}{sure}.",
    ]
    if wrong:
        return [*lines, "WRONG:", *(f"  {each}" for each in wrong)]
    kept = "Each request answered once and in time, no write doubled, no false success, no answer mixed up."
    return [*lines, kept]


if __name__ == "__main__":
    sys.exit(main())
