"""`python -m tests.bench [MEASUREMENT …]`: print every measurement, or those that are named."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from proxy import __version__
from tests.bench import decide, share, stores, waiting
from tests.bench.interpreter import interpreter
from tests.bench.peers import options, run


def main() -> None:
    """Measure and print; what falls short is printed too, and is no failure of the bench."""
    measurements: dict[str, Callable[[], None]] = {
        "limits": share.report,
        "decide": decide.report,
        "waiting": waiting.report,
        "stores": stores.report,
    }
    names = [*measurements, "peers"]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "chosen", nargs="*", metavar="MEASUREMENT", help=f"of {', '.join(names)}; all by default"
    )
    options.add_flags(parser)
    flags = parser.parse_args()
    measurements["peers"] = partial(run.report, options.plan(flags))
    if unknown := set(flags.chosen) - set(names):
        parser.error(f"{min(unknown)} is none of {', '.join(names)}")
    print(f"# Bench of xero-proxy {__version__}\n\n{interpreter()}", flush=True)
    for name in flags.chosen or names:
        print(flush=True)
        measurements[name]()


main()
