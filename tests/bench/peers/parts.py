"""What is measured, part by part."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.peers import tables
from tests.bench.peers.pace import pace
from tests.bench.peers.process import Running
from tests.bench.peers.proxies import DIRECT
from tests.bench.peers.rounds import Bench, once
from tests.bench.peers.streams import Load, move
from tests.bench.peers.upstream import SMALL, UPLOAD
from tests.bench.peers.wrk import Saturated, saturate

SMALL_SECONDS, SHORT_SECONDS, WARM_UP_SECONDS = 2, 1, 1
POST_BYTES = 10_240
RATES = {200: 1.5, 1_000: 1.0}
"""Requests a second, and for how many seconds in each turn."""

BULK_MEGABYTES = 80
"""In each turn, over all streams."""

STREAMS = 8
BODIES = (("down", 1), ("down", 10), ("up", 1), ("up", 10))
SLOW = Load("down", megabytes=200, streams=1, rate=100.0)
STARTS = 5


def small(bench: Bench) -> str:
    """GET of 1 KB of JSON, 64 connections"""
    samples = _saturated(bench, "small", SMALL, SMALL_SECONDS)
    return "\n\n".join((tables.saturation(samples), tables.cpu_verdict(samples)))


def latency(bench: Bench) -> str:
    """Latency of the same at a fixed rate, from when each request was due"""

    def percentiles(process: Running) -> list[float]:
        both = [pace(process, SMALL, rate, seconds, bench.load_core) for rate, seconds in RATES.items()]
        return [figure for pair in both for figure in pair]

    with bench.started("latency") as processes:
        once(processes, lambda process: _at_rest(process, bench))
        samples = bench.in_turn(processes, percentiles)
    return "\n\n".join((tables.latency(samples, list(RATES)), tables.latency_verdicts(samples, list(RATES))))


def post(bench: Bench) -> str:
    """POST of 10 KB, answered with 1 KB, 64 connections"""
    return tables.saturation(_saturated(bench, "post", UPLOAD, SHORT_SECONDS, body_bytes=POST_BYTES))


def tls(bench: Bench) -> str:
    """GET of 1 KB of JSON with TLS to the upstream, 64 connections"""
    samples = _saturated(bench, "tls", SMALL, SHORT_SECONDS, tls=True)
    return tables.saturation(samples)


def bulk(bench: Bench) -> str:
    """Bodies of 1 and 10 MB, 8 streams: MB a second, and how much the memory grew in all"""

    def speeds(process: Running) -> list[float]:
        return [
            move(process, Load(way, size, STREAMS, BULK_MEGABYTES // STREAMS // size), bench.load_core)
            for way, size in BODIES
        ]

    with bench.started("bulk") as processes:
        before = once(processes, lambda process: _at_rest(process, bench))
        samples = bench.in_turn(processes, speeds)
        growth = {name: (process.peak_kib() - before[name]) / 1024 for name, process in processes.items()}
    columns = [f"{size} MB {way}" for way, size in BODIES]
    return "\n\n".join(
        (tables.bulk(samples, columns, growth), tables.bulk_verdicts(samples, columns, growth))
    )


def slow(bench: Bench) -> str:
    """One reader of 200 MB at 100 MB a second: how much the memory grew"""

    def growth(process: Running) -> float:
        before = _at_rest(process, bench)
        move(process, SLOW, bench.load_core)
        return (process.peak_kib() - before) / 1024

    with bench.started("slow") as processes:
        processes.pop(DIRECT, None)
        return tables.slow(once(processes, growth))


def start(bench: Bench) -> str:
    """From exec to the first connection accepted, and memory at rest"""
    samples: dict[str, list[list[float]]] = {name: [] for name in bench.plan.proxies if name != DIRECT}
    for number in range(STARTS):
        for name, results in samples.items():
            with bench.one(f"start-{number}", name) as process:
                results.append([process.started_in * 1e3, process.memory_kib() / 1024])
    return tables.start(samples)


PARTS: dict[str, Callable[[Bench], str]] = {
    part.__name__: part for part in (small, latency, post, tls, bulk, slow, start)
}


def _saturated(
    bench: Bench, part: str, path: str, seconds: int, *, body_bytes: int = 0, tls: bool = False
) -> dict[str, list[Saturated]]:
    def load(process: Running, seconds: int = seconds) -> Saturated:
        return saturate(process, path, seconds, bench.load_core, body_bytes=body_bytes)

    with bench.started(part, tls=tls) as processes:
        once(processes, lambda process: load(process, WARM_UP_SECONDS))
        return bench.in_turn(processes, load)


def _at_rest(process: Running, bench: Bench) -> int:
    """KiB after the first requests, from where growth counts."""
    pace(process, SMALL, 200, 0.5, bench.load_core)
    process.forget_peak()
    return process.memory_kib()
