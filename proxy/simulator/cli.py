"""`xero-proxy simulator`: the simulator alone, for a caller's own tests."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

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
"""


def run_simulator(argv: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT. 0 done, 1 the address cannot be had, 2 bad flags."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        asyncio.run(_run(arguments))
    except OSError as error:
        sys.stderr.write(f"xero-proxy simulator: {error}\n")
        return 1
    return 0


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    simulator = Simulator(_options(arguments), seed=arguments.seed)
    await simulator.start(*arguments.listen)
    try:
        _break(simulator, arguments)
        sys.stdout.write(_POINTERS.format(url=simulator.url, windows=arguments.windows))
        sys.stdout.flush()
        await stop.wait()
    finally:
        await simulator.close()


def _options(arguments: argparse.Namespace) -> Options:
    shortest, longest = arguments.latency_ms
    return Options(
        minute_limit=arguments.minute_limit,
        day_limit=arguments.day_limit,
        app_minute_limit=arguments.app_minute_limit,
        concurrent_limit=arguments.concurrent_limit,
        window_seconds=arguments.window_seconds,
        windows=arguments.windows,
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
    parser = argparse.ArgumentParser(prog="xero-proxy simulator", description="A strict stand-in for Xero.")
    add, default = parser.add_argument, Options()
    add("--listen", type=_address, default=("127.0.0.1", 8081), metavar="HOST:PORT", help="127.0.0.1:8081")
    add("--minute-limit", type=_count, default=default.minute_limit, help="calls per tenant and window")
    add("--window-seconds", type=_seconds, default=default.window_seconds, help="length of the minute window")
    add("--windows", type=WindowKind, choices=list(WindowKind), default=default.windows)
    add("--day-limit", type=_count, default=default.day_limit, help="calls per tenant and day")
    add("--concurrent-limit", type=_count, default=default.concurrent_limit, help="in progress per tenant")
    add("--app-minute-limit", type=_count, default=default.app_minute_limit, help="over all tenants")
    add("--latency-ms", type=_span, default=(0.0, 0.0), metavar="MIN:MAX", help="from arrival to answer")
    add("--jitter-ms", type=_amount, default=0.0, help="longest time on the network before arrival")
    add("--count-refused", action="store_true", help="a 429 spends a call too")
    add("--foreign-per-minute", type=_amount, default=0.0, help="random calls of others per tenant")
    add("--tenant", action="append", default=[], metavar="ID", help="only these exist (default: any)")
    add("--check-token-expiry", action="store_true", help="heed the exp of a JWT")
    add("--seed", type=int, default=0, help="of everything random")
    add("--offline", type=_offline, action="append", default=[], metavar="TENANT[:SECONDS]")
    add("--maintenance", type=_seconds, metavar="SECONDS", help="503 for everybody, so long")
    add("--unavailable", type=_seconds, metavar="SECONDS", help="the other 503 for everybody")
    kinds = ", ".join(FaultKind)
    add("--fail-next", type=_failure, action="append", default=[], metavar="N:KIND", help=kinds)
    return parser


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not (host and separator and 0 <= int(port) <= 65535):
        raise ValueError
    return host.strip("[]"), int(port)


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def _amount(text: str) -> float:
    if not 0 <= (value := float(text)) < float("inf"):
        raise ValueError
    return value


def _seconds(text: str) -> float:
    if not (value := _amount(text)):
        raise ValueError
    return value


def _span(text: str) -> tuple[float, float]:
    shortest, separator, longest = text.partition(":")
    span = _amount(shortest), _amount(longest if separator else shortest)
    if span[0] > span[1]:
        raise ValueError
    return span


def _offline(text: str) -> tuple[str, float | None]:
    tenant, separator, seconds = text.partition(":")
    if not tenant:
        raise ValueError
    return tenant, _seconds(seconds) if separator else None


def _failure(text: str) -> tuple[int, FaultKind]:
    times, _, kind = text.partition(":")
    return _count(times), FaultKind(kind)
