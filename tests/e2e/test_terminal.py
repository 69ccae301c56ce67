"""The sidecar as somebody starts it in a terminal for a first look: what it says can be done."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.test_process import COMMAND, environ

CURL = re.compile(r"curl .*?(?:\\\r?\n.*?)?\r?\n")


class Terminal:
    """A pseudo-terminal with `xero-proxy` in it."""

    def __init__(self, reader: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.shown = ""
        self._reader = reader

    def until(self, words: str) -> str:
        """Everything that was shown up to where `words` are there."""
        while words not in self.shown:
            self.shown += os.read(self._reader, 65536).decode()
        return self.shown


@contextlib.contextmanager
def terminal(*arguments: str, **settings: object) -> Iterator[Terminal]:
    ours, theirs = os.openpty()
    command = [str(COMMAND), "serve", *arguments]
    with subprocess.Popen(command, env=environ(**settings), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            os.close(ours)


def done(curl: str) -> str:
    """What a command of the banner prints."""
    command = shlex.split(curl.replace("\\\r\n", ""))
    return subprocess.run(
        [*command, "--silent", "--max-time", "10"], capture_output=True, text=True, check=True
    ).stdout


def test_a_terminal_is_told_where_the_page_is_and_what_to_try_and_the_log_is_for_people() -> None:
    with terminal("--simulator") as shell:
        shown = shell.until("Ctrl-C ends it")
        tried, broken = CURL.findall(shown)
        assert '"Name":"Organisation demo"' in done(tried)
        done(broken)
        assert done(tried) == "The Organisation is offline"
        page = re.findall(r"its page +(\S+)", shown)[0]
        assert "<title>" in done(f"curl {page}")
        assert "a simulated Xero at http://127.0.0.1:" in shown
        assert '"event"' not in shell.until("offline")
        shell.process.send_signal(signal.SIGINT)
        assert shell.process.wait(10) == 0


def test_in_front_of_xero_nothing_is_made_up() -> None:
    with terminal(upstream="http://127.0.0.1:9") as shell:
        shown = shell.until("Ctrl-C ends it")
        assert "on to http://127.0.0.1:9\r\n" in shown
        assert "_simulator" not in shown
        assert len(CURL.findall(shown)) == 1


def test_a_log_format_that_is_asked_for_stays() -> None:
    with terminal(log_format="json") as shell:
        assert '"event":"listening"' in shell.until('"event":"listening"')


@pytest.mark.parametrize("arguments", [(), ("--simulator",)])
def test_where_a_program_reads_there_is_nothing_but_the_log(arguments: tuple[str, ...]) -> None:
    command = [str(COMMAND), "serve", *arguments]
    with subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert '"event":"listening"' in process.stdout.readline()
        process.terminate()
        rest, _ = process.communicate(timeout=10)
    assert all(line.startswith("{") for line in rest.splitlines())
