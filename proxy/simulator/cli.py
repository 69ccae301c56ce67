"""`xero-proxy simulator`: the simulator alone, for a caller's own tests."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence

from proxy.process import take_signals
from proxy.simulator.control import LONGEST_SECONDS, MOST, help_text
from proxy.simulator.faults import FaultKind
from proxy.simulator.options import Options
from proxy.simulator.server import Simulator
from proxy.simulator.windows import WindowKind

_POINTERS = """\
Simulated Xero at {url} (both api.xero.com and identity.xero.com), {windows} windows
  through the proxy:  XERO_PROXY_UPSTREAM={url} XERO_PROXY_IDENTITY_UPSTREAM={url} xero-proxy serve
  directly:           curl -H 'Authorization: Bearer any' -H 'Xero-Tenant-Id: demo' \\
                           -H 'Accept: application/json' {url}/api.xro/2.0/Organisation
  what arrived:       curl {url}/_simulator/ledger
  make it fail:       curl -d '{{"fail_next": {{"kind": "lost_reply"}}}}' {url}/_simulator/faults
  what else:          xero-proxy simulator --help
"""


def run_simulator(argv: Sequence[str]) -> int:
    """Run until a signal ends it. 0 done, 1 the address cannot be had, 2 bad flags."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    return asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    take_signals(stop.set)
    simulator = Simulator(_options(arguments), seed=arguments.seed)
    host, port = arguments.listen
    try:
        await simulator.start(host, port)
    except OSError as error:
        # asyncio's own text quotes Python's form of the address.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(f"xero-proxy simulator: cannot listen on {shown}:{port}: {reason}; see --listen\n")
        return 1
    try:
        _break(simulator, arguments)
        _point(simulator.url, arguments.windows)
        await stop.wait()
    finally:
        await simulator.close()
    return 0


def _point(url: str, windows: str) -> None:
    """Say what can be done. A reader that has seen enough, as `head` has, stops nothing."""
    try:
        sys.stdout.write(_POINTERS.format(url=url, windows=windows))
        sys.stdout.flush()
    except OSError:  # what is left of the output must not fail again when the interpreter flushes it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _options(arguments: argparse.Namespace) -> Options:
    shortest, longest = arguments.latency_ms
    return Options(
        minute_limit=arguments.minute_limit,
        day_limit=arguments.day_limit,
        app_minute_limit=arguments.app_minute_limit,
        concurrent_limit=arguments.concurrent_limit,
        window_seconds=arguments.window_seconds,
        windows=WindowKind(arguments.windows),
        latency=(shortest / 1000, longest / 1000),
        jitter=arguments.jitter_ms / 1000,
        count_refused=arguments.count_refused,
        foreign_per_minute=arguments.foreign_per_minute,
        known_tenants=tuple(arguments.tenant) or None,
        check_token_expiry=arguments.check_token_expiry,
    )


def _break(simulator: Simulator, arguments: argparse.Namespace) -> None:
    for tenant, seconds in arguments.offline:
        simulator.offline(tenant, seconds)
    if arguments.maintenance:
        simulator.maintenance(arguments.maintenance)
    if arguments.unavailable:
        simulator.unavailable(arguments.unavailable)
    for times, kind in arguments.fail_next:
        simulator.fail_next(times, kind)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xero-proxy simulator",
        description="A strict stand-in for Xero: its limits, tokens, keys, failures and the Accounting API.",
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, default = parser.add_argument, Options()
    add("--listen", type=_address, default=("127.0.0.1", 8081), metavar="HOST:PORT", help="127.0.0.1:8081")
    add("--minute-limit", type=_count, default=60, metavar="N", help="calls per tenant and window")
    add("--window-seconds", type=_seconds, default=60.0, metavar="S", help="length of the minute window")
    add("--windows", choices=tuple(map(str, WindowKind)), default=str(default.windows), help="their kind")
    add("--day-limit", type=_count, default=default.day_limit, metavar="N", help="calls per tenant and day")
    add("--concurrent-limit", type=_count, default=5, metavar="N", help="calls in progress per tenant")
    add("--app-minute-limit", type=_count, default=10_000, metavar="N", help="over all tenants")
    add("--latency-ms", type=_span, default=(0.0, 0.0), metavar="MIN:MAX", help="from arrival to answer")
    add(
        "--jitter-ms",
        type=_amount,
        default=0.0,
        metavar="MS",
        help="longest time on the network before arrival",
    )
    add("--count-refused", action="store_true", help="a 429 spends a call too")
    add(
        "--foreign-per-minute", type=_rate, default=0.0, metavar="N", help="random calls of others per tenant"
    )
    add("--tenant", action="append", default=[], metavar="ID", help="only these exist (default: any)")
    add("--check-token-expiry", action="store_true", help="heed the exp of a JWT")
    add("--seed", type=_seed, default=0, metavar="N", help="of everything random")
    add("--offline", type=_offline, action="append", default=[], metavar="TENANT[:SECONDS]")
    add("--maintenance", type=_seconds, metavar="S", help="503 for everybody, so long")
    add("--unavailable", type=_seconds, metavar="S", help="the other 503 for everybody")
    add("--fail-next", type=_failure, action="append", default=[], metavar="N:KIND", help="kinds are below")
    return parser


def _bad(words: str) -> argparse.ArgumentTypeError:
    """What is said after the name of an argument."""
    return argparse.ArgumentTypeError(f"must be {words}")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise _bad(_AN_ADDRESS)
    return host.strip("[]"), _port(port)


def _whole(low: float, high: float, words: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _bad(words) from None
        if not low <= value <= high:
            raise _bad(words)
        return value

    return read


def _between(low: float, high: float, words: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise _bad(words)
        return value

    return read


_AN_ADDRESS = "HOST:PORT, such as 127.0.0.1:8081"
_port = _whole(0, 65535, _AN_ADDRESS)
_count = _whole(1, 10**9, "a whole number, 1 to 1,000,000,000")
_times = _whole(1, MOST, f"N:KIND, where N is a whole number, 1 to {MOST:,}")
_seed = _whole(-math.inf, math.inf, "a whole number")
_amount = _between(0, 86_400_000, "a number, 0 to 86,400,000")
_rate = _between(0, MOST, f"a number, 0 to {MOST:,}")
_seconds = _between(0.001, LONGEST_SECONDS, "a number of seconds, from 0.001 to 10 years")


def _span(text: str) -> tuple[float, float]:
    shortest, separator, longest = text.partition(":")
    span = _amount(shortest), _amount(longest if separator else shortest)
    if span[0] > span[1]:
        raise _bad("MIN:MAX, the smaller first")
    return span


def _offline(text: str) -> tuple[str, float | None]:
    tenant, separator, seconds = text.partition(":")
    if not tenant:
        raise _bad("TENANT or TENANT:SECONDS")
    return tenant, _seconds(seconds) if separator else None


def _failure(text: str) -> tuple[int, FaultKind]:
    times, _, kind = text.partition(":")
    if kind not in list(FaultKind):
        raise _bad(f"N:KIND, where KIND is one of {', '.join(FaultKind)}")
    return _times(times), FaultKind(kind)
