"""The command line: `serve`, `check`, `simulator` and `demo`.

Exit codes: 0 done, 1 failed at run time, 2 bad settings or arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from config.settings import PREFIX, BadSettings, Settings, read_settings
from config.values import ORIGIN, LogFormat
from proxy import __version__
from proxy.banner import banner, reached_at

if TYPE_CHECKING:
    from proxy.app import Sidecar

BAD_SETTINGS = 2
FREE_PORTS = {f"{PREFIX}LISTEN": "127.0.0.1:0", f"{PREFIX}ADMIN_LISTEN": "127.0.0.1:0"}
"""Where the demo listens unless it is told otherwise, so that it runs beside a sidecar that serves."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["simulator"]:
        from proxy.simulator.cli import run_simulator

        return run_simulator(arguments[1:])
    command = _parser().parse_args(arguments)
    try:
        settings = read_settings((FREE_PORTS if command.name == "demo" else {}) | os.environ)
    except BadSettings as bad:
        print("Bad settings; nothing was started.", *bad.problems, sep="\n  ", file=sys.stderr)
        return BAD_SETTINGS
    if command.name == "check":
        from proxy.check import run_check

        return run_check(settings, connect=command.connect)
    if command.name == "demo":
        from proxy.demo import run_demo

        return run_demo(settings, seconds=command.seconds, plain=command.plain)
    return asyncio.run(_serve(settings, simulator=command.simulator))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xero-proxy", description="A sidecar in front of the Xero API that keeps to its limits."
    )
    parser.add_argument("--version", action="version", version=f"xero-proxy {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="command")
    serve = commands.add_parser(
        "serve",
        help="run the sidecar; settings are XERO_PROXY_* environment variables",
        description="Run the sidecar until SIGTERM.",
        epilog="The settings are environment variables, XERO_PROXY_LISTEN for one. `xero-proxy check` prints "
        "all of them as they are now; the README's chapter Settings says what each means.",
    )
    serve.add_argument(
        "--simulator",
        action="store_true",
        help="start the Xero simulator too and use it as the upstream, for a first look",
    )
    check = commands.add_parser(
        "check",
        help="print the effective settings and warn of dangerous ones, or name the bad ones and exit 2",
    )
    check.add_argument(
        "--connect",
        action="store_true",
        help="try both upstreams and Redis too, and say what failed",
    )
    commands.add_parser("simulator", help="run the Xero simulator alone, for your own tests", add_help=False)
    demo = commands.add_parser("demo", help="simulator, sidecar and a sample load together")
    demo.add_argument("--seconds", type=_span, default=40.0, help="how long it takes, 4 to 180 (default: 40)")
    demo.add_argument("--plain", action="store_true", help="lines instead of a table in a terminal")
    return parser


def _span(text: str) -> float:
    """The length of a demo: in less time there is nothing to see, in more `MAX_WAIT_SECONDS` is too short."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 4 <= seconds <= 180:
        raise argparse.ArgumentTypeError("must be a number of seconds, 4 to 180")
    return seconds


async def _serve(settings: Settings, *, simulator: bool) -> int:
    gc.disable()  # until all is there: nothing of it is garbage
    from proxy.process import run_until_stopped

    if sys.stdout.isatty() and f"{PREFIX}LOG_FORMAT" not in os.environ:
        settings = replace(settings, log_format=LogFormat.CONSOLE)
    if not simulator:
        return await run_until_stopped(settings, partial(_welcome, settings, ""))
    from proxy.simulator.server import Simulator

    embedded = Simulator()
    await embedded.start()
    try:
        here = ORIGIN.read(embedded.url)
        if here is None:
            raise ValueError(f"the simulator calls itself {embedded.url}")
        settings = replace(settings, upstream=here, identity_upstream=here)
        return await run_until_stopped(settings, partial(_welcome, settings, embedded.url))
    finally:
        await embedded.close()


def _welcome(settings: Settings, simulator: str, sidecar: Sidecar) -> None:
    """Tell people where it is and what to try. A program that reads the log gets nothing but the log."""
    if not sys.stdout.isatty():
        return
    callers = reached_at(settings.listen, sidecar.port, "https" if settings.tls_cert_file else "http")
    admin = reached_at(settings.admin_listen, sidecar.admin_port)
    print(banner(callers, admin, upstream=str(settings.upstream), simulator=simulator), end="", flush=True)
