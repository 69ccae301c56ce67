"""`xero-proxy demo`: a strict simulator, the sidecar, and a load over six organisations, in one process.

    load ──requests──▶ sidecar ──calls──▶ simulator
      └─ tally            └─ snapshot         └─ ledger      ──▶ screen, summary

The load knows nothing of limits and never slows down. The figures come from three witnesses: the callers
(answers, waits, retries), the sidecar's own status (waiting, budgets, holds), and the simulator's ledger
(429s, writes executed twice).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from config.settings import Settings
from proxy.app import LOG_FLUSH_SECONDS, CannotListen
from proxy.clock import Clock
from proxy.demo.run import demo
from proxy.demo.terminal import Display, display_for
from proxy.log import Log, take_library_logs

__all__ = ["run_demo"]


def run_demo(settings: Settings, *, seconds: float, plain: bool) -> int:
    """Play the demo in about `seconds`. 0 if all went as it is to go, 1 if not or a port cannot be had."""
    display = display_for(sys.stdout, os.environ, plainly=plain)
    descriptor, path = tempfile.mkstemp(prefix="xero-proxy-demo-", suffix=".log")
    try:
        return 0 if asyncio.run(_logged(settings, seconds, display, descriptor, path)) else 1
    except CannotListen as reason:
        Path(path).unlink()
        sys.stderr.write(f"xero-proxy demo: {reason}\n")
        return 1
    except OSError as error:  # what is left of the output must not fail again when the interpreter flushes it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"xero-proxy demo: cannot write: {error.strerror}\n")
        return 1
    finally:
        os.close(descriptor)


async def _logged(settings: Settings, seconds: float, display: Display, descriptor: int, path: str) -> bool:
    """The sidecar's log goes to a file, since it would break the table; a signal ends the demo early."""
    clock = Clock()
    log = Log(clock.wall, level=settings.log_level, form=settings.log_format, descriptor=descriptor)
    take_library_logs(log, settings.log_level)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        return await demo(settings, seconds, display, stop, log, path)
    finally:
        await asyncio.get_running_loop().run_in_executor(None, log.close, LOG_FLUSH_SECONDS)
