"""The flags of this part of the bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection

from tests.bench.peers.parts import PARTS
from tests.bench.peers.rounds import NAMES, QUICK_ROUNDS, ROUNDS, Plan

WORDS = {name.partition(" ")[0].lower(): name for name in NAMES}
"""What a proxy is called on the command line: `envoy`, `textbook`."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Which proxies, which parts, how long, on which interpreter."""
    group = parser.add_argument_group("peers")
    group.add_argument(
        "--only", type=_listed(WORDS), default=list(WORDS), metavar="PROXY,…", help=", ".join(WORDS)
    )
    group.add_argument(
        "--parts", type=_listed(PARTS), default=list(PARTS), metavar="PART,…", help=", ".join(PARTS)
    )
    group.add_argument("--quick", action="store_true", help="one round instead of five")
    group.add_argument(
        "--python", default=sys.executable, help="runs what is written in Python (default: this one)"
    )


def _listed(known: Collection[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        words = text.split(",")
        if unknown := [word for word in words if word not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
        return words

    return read


def plan(flags: argparse.Namespace) -> Plan:
    """What the flags ask for."""
    chosen = [WORDS[word] for word in WORDS if word in flags.only]
    rounds = QUICK_ROUNDS if flags.quick else ROUNDS
    return Plan(rounds, proxies=chosen, parts=flags.parts, python=flags.python)
