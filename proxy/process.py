"""A sidecar as a process of its own: its signals, threads and descriptors, and how it begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from config.dangers import dangers
from config.settings import BadSettings, Settings
from proxy.app import Sidecar
from proxy.clock import Clock
from proxy.garbage import collect_garbage
from proxy.listener import raise_limit
from proxy.log import Log, take_library_logs
from proxy.signals import take_second_interrupt, take_signals
from proxy.worker import Daemons

LOG_FLUSH_SECONDS = 2.0
LOOKUPS = 64
"""Names that are looked up at once; more only where a resolver hangs."""


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
    sidecar = Sidecar(settings, log, clock, Random())
    collect_garbage()
    try:
        return await _run(sidecar, log, started)
    finally:
        log.close(LOG_FLUSH_SECONDS)  # in this thread: nothing is left to keep waiting


async def _run(sidecar: Sidecar, log: Log, started: Callable[[Sidecar], None]) -> int:
    stop = asyncio.Event()
    take_signals(stop.set, lambda: log.info("read_again"))
    try:
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
