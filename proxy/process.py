"""A sidecar as a process of its own: its signals, threads and descriptors, and how it begins and ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from random import Random

from config.dangers import dangers
from config.settings import BadSettings, Settings
from proxy.app import Sidecar
from proxy.clock import Clock
from proxy.http.listener import raise_limit
from proxy.observe.log import Log, take_library_logs
from proxy.worker import Daemons

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
THRESHOLDS = (10_000, 10, 10)
"""Python's own search a crowd of waiting requests over and over, which costs more than all decisions about
it. Much higher ones never look at what is old, and asyncio leaves a cycle for each connection, so that memory
would grow with every caller that hangs up.
"""
LOG_FLUSH_SECONDS = 2.0
LOOKUPS = 64
"""Names that are looked up at once; more only where a resolver hangs."""


def take_signals(stop: Callable[[], object], read_again: Callable[[], object] = lambda: None) -> None:
    """Call `stop` at the signals that end the process.

    SIGHUP says that the terminal has gone where one controls the process, and ends it like the others unless
    the process was started to outlast that (nohup). Without a terminal it is how operators ask for what can
    change to be read again.
    """
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, stop)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if not _has_terminal():
        loop.add_signal_handler(signal.SIGHUP, read_again)
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop)


def take_second_interrupt(hurry: Callable[[], object]) -> None:
    """Call `hurry` at SIGINT from now on: whoever presses Ctrl-C again will not wait."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, hurry)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def collect_garbage() -> None:
    """From now on, but never search what is there already: all of it stays."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()


async def run_until_stopped(settings: Settings, started: Callable[[Sidecar], None]) -> int:
    """Run a sidecar until a signal ends it. 0 when it has drained, 1 when it could not start, 2 where
    no start can mend that: a setting names what must not be used. A SIGINT during the drain ends it: whoever
    presses Ctrl-C again will not wait.
    """
    raise_limit()
    asyncio.get_running_loop().set_default_executor(Daemons(LOOKUPS, "lookup"))
    clock = Clock()
    log = Log(clock.wall, level=settings.log_level, form=settings.log_format)
    take_library_logs(log, settings.log_level)
    for danger in dangers(settings):
        log.warning("dangerous_setting", detail=danger)
    try:
        return await _run(settings, log, clock, started)
    finally:
        log.close(LOG_FLUSH_SECONDS)  # in this thread: nothing is left to keep waiting


async def _run(settings: Settings, log: Log, clock: Clock, started: Callable[[Sidecar], None]) -> int:
    stop = asyncio.Event()
    try:
        sidecar = Sidecar(settings, log, clock, Random())
        collect_garbage()
        take_signals(stop.set, sidecar.read_again)
        await sidecar.start()
    except OSError as error:
        log.error("cannot_start", reason=str(error))  # noqa: TRY400 - the reason is all there is to say
        return 1
    except BadSettings as bad:
        log.error("cannot_start", reason=str(bad))  # noqa: TRY400 - as above
        return 2
    started(sidecar)
    await stop.wait()
    take_second_interrupt(sidecar.hurry)
    await sidecar.stop()
    return 0
