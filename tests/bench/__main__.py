"""`python -m tests.bench`: print every measurement, or those of `--only`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from proxy import __version__
from tests.bench import decide, share, waiting
from tests.bench.interpreter import interpreter

MEASUREMENTS: dict[str, Callable[[], None]] = {
    "limits": share.report,
    "decide": decide.report,
    "waiting": waiting.report,
}


def main() -> None:
    """Measure and print; what falls short is printed too, and is no failure of the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="may be repeated")
    chosen = parser.parse_args().only or list(MEASUREMENTS)
    print(f"# Bench of xero-proxy {__version__}\n\n{interpreter()}", flush=True)
    for name in chosen:
        print(flush=True)
        MEASUREMENTS[name]()


main()
