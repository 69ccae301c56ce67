"""What signals do: some end the process well, and no other of the usual ones ends it at all."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)


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
