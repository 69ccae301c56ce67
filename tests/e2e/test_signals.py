"""What signals do to a sidecar that runs, with and without a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.e2e.harness import request
from tests.e2e.test_process import COMMAND, PATIENCE, Process, environ

# The command in a session of its own, so that the terminal of whoever runs the tests counts for nothing, nor
# whether they ignore its end; with the terminal that is named, if one is. With `ignore` it begins as nohup
# lets it begin.
BEGIN = """
import os, signal, sys
terminal, hang_up, *command = sys.argv[1:]
if terminal:
    os.open(terminal, os.O_RDWR)
signal.signal(signal.SIGHUP, signal.SIG_IGN if hang_up == "ignore" else signal.SIG_DFL)
os.execv(command[0], command)
"""


async def begin(terminal: str = "", hang_up: str = "", **settings: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BEGIN,
        terminal,
        hang_up,
        COMMAND,
        "serve",
        "--simulator",
        env=environ() | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    found = Process(process)
    listening = await found.line("listening")
    port = listening["listen"].rpartition(":")[2]
    found.port = int(port) if port.isdigit() else 0
    return found


@pytest.fixture
async def begun() -> AsyncIterator[list[Process]]:
    """Processes that are ended at the end."""
    processes: list[Process] = []
    yield processes
    for each in processes:
        if each.process.returncode is None:
            each.process.kill()
            await each.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_the_signals_that_end_a_program_end_it_well(
    number: signal.Signals, begun: list[Process]
) -> None:
    begun.append(process := await begin())
    process.process.send_signal(number)
    assert await process.line("draining")
    assert (await process.ends())[0] == 0


async def test_without_a_terminal_a_hangup_reads_again_and_the_users_signals_do_nothing(
    begun: list[Process],
) -> None:
    begun.append(process := await begin())
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        process.process.send_signal(number)
    assert await process.line("read_again")
    assert (await process.ask(request(b"GET /connections"))).status == 200
    process.process.send_signal(signal.SIGTERM)
    code, out, _ = await process.ends()
    assert (code, out.count("read_again")) == (0, 0)


async def test_when_its_terminal_goes_it_drains(begun: list[Process]) -> None:
    ours, its = pty.openpty()
    begun.append(process := await begin(os.ttyname(its)))
    os.close(its)
    assert (await process.ask(request(b"GET /connections"))).status == 200
    os.close(ours)
    assert await process.line("draining")
    assert (await process.ends())[0] == 0


async def test_what_was_begun_to_outlast_its_terminal_does(begun: list[Process]) -> None:
    ours, its = pty.openpty()
    begun.append(process := await begin(os.ttyname(its), "ignore"))
    os.close(its)
    os.close(ours)
    process.process.send_signal(signal.SIGHUP)
    assert (await process.ask(request(b"GET /connections"))).status == 200
    process.process.send_signal(signal.SIGTERM)
    assert (await asyncio.wait_for(process.ends(), PATIENCE))[0] == 0


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM])
async def test_a_simulator_is_ended_by_the_same_signals(number: signal.Signals, begun: list[Process]) -> None:
    process = Process(
        await asyncio.create_subprocess_exec(
            COMMAND,
            "simulator",
            "--listen",
            "127.0.0.1:0",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    )
    begun.append(process)
    assert process.process.stdout is not None
    await process.process.stdout.readline()
    process.process.send_signal(signal.SIGHUP)  # without a terminal it ends nothing
    process.process.send_signal(number)
    assert (await process.ends())[0] == 0


async def test_sighup_without_a_terminal_reads_the_certificate_again(
    begun: list[Process], tmp_path: Path
) -> None:
    before, after = Authority("before"), Authority("after")
    certificate, key = before.issue(tmp_path)
    files = {"XERO_PROXY_TLS_CERT_FILE": certificate, "XERO_PROXY_TLS_KEY_FILE": key}
    process = await begin(**files)
    begun.append(process)
    for authority in (before, after):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", process.port, ssl=authority.trusted(), server_hostname="localhost"
        )
        writer.write(request())
        assert b" 200 " in await reader.readline()
        writer.close()
        if authority is before:
            after.issue(tmp_path)  # over the same files
            process.process.send_signal(signal.SIGHUP)
            assert (await process.line("certificate"))["action"] == "loaded"


async def test_both_ports_can_be_at_paths(begun: list[Process], tmp_path: Path) -> None:
    callers, admin = tmp_path / "callers.sock", tmp_path / "admin.sock"
    process = await begin(XERO_PROXY_LISTEN=f"unix:{callers}", XERO_PROXY_ADMIN_LISTEN=f"unix:{admin}")
    begun.append(process)
    for path, asked in ((callers, request()), (admin, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(asked)
        assert b" 200 " in await reader.readline()
        writer.close()
    process.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.process.wait(), PATIENCE) == 0
    assert not callers.exists()
    assert not admin.exists()
