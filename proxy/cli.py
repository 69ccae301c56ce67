"""The command line: `serve`, `check`, `simulator` and `demo`.

Exit codes: 0 done, 1 failed at run time, 2 bad settings.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Sequence

from config.settings import PREFIX, BadSettings, Settings, effective, read_settings
from proxy import __version__

DONE, FAILED, BAD_SETTINGS = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["simulator"]:
        from proxy.simulator.cli import run_simulator

        return run_simulator(arguments[1:])
    command = _parser().parse_args(arguments)
    try:
        settings = read_settings(os.environ)
    except BadSettings as bad:
        print("Bad settings; nothing was started.", *bad.problems, sep="\n  ", file=sys.stderr)
        return BAD_SETTINGS
    if command.name == "check":
        return _check(settings)
    if command.name == "demo":
        from proxy.demo import run_demo

        return run_demo(settings, seconds=command.seconds, plain=command.plain)
    return asyncio.run(_serve(settings, simulator=command.simulator))


def _check(settings: Settings) -> int:
    """Print what is in effect. A reader that has seen enough, as `head` has, is no failure."""
    try:
        print(*(f"{name}={value}" for name, value in effective(settings)), sep="\n", flush=True)
    except OSError as error:  # what is left of the output must not fail again when the interpreter flushes it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return DONE
        sys.stderr.write(f"xero-proxy check: cannot write: {error.strerror}\n")
        return FAILED
    return DONE


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
    commands.add_parser("check", help="print the effective settings, or name every bad one and exit 2")
    commands.add_parser("simulator", help="run the Xero simulator alone, for your own tests", add_help=False)
    demo = commands.add_parser("demo", help="simulator, sidecar and a sample load together")
    demo.add_argument("--seconds", type=_span, default=40.0, help="how long it takes, 4 to 180 (default: 40)")
    demo.add_argument("--plain", action="store_true", help="lines instead of a table in a terminal")
    return parser


def _span(text: str) -> float:
    """The length of a demo: in less time there is nothing to see, in more `MAX_WAIT_SECONDS` is too short."""
    if not 4 <= (seconds := float(text)) <= 180:
        raise argparse.ArgumentTypeError("must be 4 to 180")
    return seconds


async def _serve(settings: Settings, *, simulator: bool) -> int:
    gc.disable()  # until all is there: nothing of it is garbage
    from proxy.app import run_until_stopped

    if not simulator:
        return await run_until_stopped(settings)
    from proxy.simulator.server import Simulator

    embedded = Simulator()
    await embedded.start()
    try:
        upstream = {f"{PREFIX}{name}": embedded.url for name in ("UPSTREAM", "IDENTITY_UPSTREAM")}
        return await run_until_stopped(read_settings({**os.environ, **upstream}))
    finally:
        await embedded.close()
