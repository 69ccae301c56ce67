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
import sys
import tempfile

from config.settings import Settings
from proxy.app import CannotListen
from proxy.clock import Clock
from proxy.demo.run import demo
from proxy.demo.terminal import Display, display_for
from proxy.observe.log import Log, take_library_logs
from proxy.process import LOG_FLUSH_SECONDS, take_signals

__all__ = ["run_demo"]


LINES_SHOWN = 20


def run_demo(settings: Settings, *, seconds: float, plain: bool) -> int:
    """Play the demo in about `seconds`. 0 if all went as it is to go, 1 if not or a port cannot be had.

    The sidecar's log would break the table: it goes to a file without a name, and its warnings are shown
    where not all went as it is to go.
    """
    display = display_for(sys.stdout, os.environ, plainly=plain)
    try:
        with tempfile.TemporaryFile() as file:
            if asyncio.run(_logged(settings, seconds, display, file.fileno())):
                return 0
            file.seek(0)
            warnings = [line for line in file if b'"level":"info"' not in line]
            sys.stderr.writelines(line.decode() for line in warnings[-LINES_SHOWN:])
            return 1
    except CannotListen as reason:
        sys.stderr.write(f"xero-proxy demo: {reason}\n")
        return 1
    except OSError as error:  # what is left of the output must not fail again when the interpreter flushes it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"xero-proxy demo: cannot write: {error.strerror}\n")
        return 1


async def _logged(settings: Settings, seconds: float, display: Display, descriptor: int) -> bool:
    """The sidecar's log goes to `descriptor`; a signal ends the demo early."""
    clock = Clock()
    log = Log(clock.wall, descriptor=descriptor)
    take_library_logs(log, settings.log_level)
    stop = asyncio.Event()
    take_signals(stop.set)
    try:
        return await demo(settings, seconds, display, stop, log)
    finally:
        await asyncio.get_running_loop().run_in_executor(None, log.close, LOG_FLUSH_SECONDS)
