"""Starts the simulator and the sidecar, lets the load run, and shows it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NoReturn

from config.settings import Settings
from config.values import ORIGIN, Address
from proxy.app import CannotListen, Sidecar
from proxy.banner import reached_at
from proxy.clock import Clock
from proxy.demo import load
from proxy.demo.callers import Callers
from proxy.demo.screen import Frame
from proxy.demo.summary import introduction, summary
from proxy.demo.terminal import Display
from proxy.demo.witness import Witness
from proxy.observe.log import Log
from proxy.simulator.faults import FaultKind
from proxy.simulator.options import Options
from proxy.simulator.server import Simulator

DRAIN_SECONDS = 1.0
SEED = 20
SCALED = (
    "max_wait_seconds",
    "offline_backoff_seconds",
    "retry_backoff_seconds",
    "retry_backoff_max_seconds",
)


async def demo(settings: Settings, seconds: float, display: Display, stop: asyncio.Event, log: Log) -> bool:
    """Play the demo in about `seconds`, less if `stop` is set; whether all went as it is to go.

    Raises CannotListen before anything is sent.
    """
    clock, scale = Clock(), seconds / load.SECONDS
    options = _options(scale)
    async with _simulator(options, clock) as simulator:
        scaled = _scaled(settings, scale, simulator.url)
        sidecar = await _listening(scaled, log, clock)
        callers = Callers(reached_at(scaled.listen, sidecar.port), scale, clock)
        snapshot, minute_limit = sidecar.scheduler.snapshot, settings.tenant_minute_limit
        witness = Witness(snapshot, minute_limit, simulator, options, callers.tallies)
        frame = _frames(witness, seconds, scaled.offline_backoff_seconds, clock)
        try:
            _trouble(simulator, scale, clock)
            words = introduction(seconds, scaled, reached_at(scaled.admin_listen, sidecar.admin_port))
            showing = asyncio.ensure_future(_show(display, words, frame, clock))
            await _play(callers, sidecar, stop, showing)
            outcome = witness.outcome(load.PACE / scale)
            display.end(frame(), summary(outcome, display.style))
        finally:
            display.close()
    return outcome.kept


async def _play(
    callers: Callers, sidecar: Sidecar, stop: asyncio.Event, showing: asyncio.Future[NoReturn]
) -> None:
    """Until every request is answered. When interrupted, those that cannot be answered soon are refused."""
    sending = asyncio.ensure_future(callers.run(load.plan(Random(SEED))))
    stopped = asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {sending, showing, stopped}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        callers.stop()
        await sidecar.stop()
        await sending
        stopped.cancel()
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing


async def _show(
    display: Display, introduction: Sequence[str], frame: Callable[[], Frame], clock: Clock
) -> NoReturn:
    display.begin(introduction)
    while True:
        display.show(frame())
        await clock.sleep_until(clock.now() + display.every)


def _frames(witness: Witness, seconds: float, pause: float, clock: Clock) -> Callable[[], Frame]:
    began, scale = clock.now(), seconds / load.SECONDS
    story = tuple((beat.at * scale, beat.text) for beat in load.story(pause / scale))
    return lambda: Frame(clock.now() - began, seconds, load.PACE / scale, witness.rows(), story)


def _trouble(simulator: Simulator, scale: float, clock: Clock) -> None:
    """Everything that goes wrong at Xero, from now on."""
    simulator.foreign_rate(load.TIDE.name, load.TIDE.others * load.PACE / scale)
    simulator.fail_next(load.LOST_ANSWERS, FaultKind.LOST_REPLY, load.PIXEL.name)
    offline = load.OFFLINE_FOR * scale
    clock.call_at(clock.now() + load.OFFLINE_AT * scale, lambda: simulator.offline(load.KAURI.name, offline))


def _options(scale: float) -> Options:
    shortest, longest = load.LATENCY
    return Options(
        window_seconds=load.MINUTE_SECONDS * scale,
        latency=(shortest * scale, longest * scale),
        jitter=load.JITTER * scale,
    )


def _scaled(settings: Settings, scale: float, upstream: str) -> Settings:
    origin = ORIGIN.read(upstream)
    if origin is None:
        raise ValueError(f"the simulator calls itself {upstream}")
    return replace(
        settings,
        upstream=origin,
        identity_upstream=origin,
        minute_window_seconds=load.MINUTE_SECONDS * scale,
        drain_seconds=DRAIN_SECONDS,
        # These belong to the sidecar that serves; the demo's own callers speak HTTP over TCP.
        state_file="",
        tls_cert_file="",
        tls_key_file="",
        tls_client_ca_file="",
        listen=_over_tcp(settings.listen),
        admin_listen=_over_tcp(settings.admin_listen),
        **{name: getattr(settings, name) * scale / load.PACE for name in SCALED},
    )


def _over_tcp(address: Address) -> Address:
    return Address("127.0.0.1", 0) if address.is_path else address


@contextlib.asynccontextmanager
async def _simulator(options: Options, clock: Clock) -> AsyncIterator[Simulator]:
    simulator = Simulator(options, seed=SEED, clock=clock)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.close()


async def _listening(settings: Settings, log: Log, clock: Clock) -> Sidecar:
    sidecar = Sidecar(settings, log, clock, Random(SEED))
    try:
        await sidecar.start()
    except CannotListen:
        await sidecar.stop()
        raise
    return sidecar
