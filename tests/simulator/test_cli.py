from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys

import pytest

from proxy.clock import Clock
from proxy.simulator.cli import run_simulator
from proxy.simulator.control import CALLS, ORDERS
from proxy.simulator.faults import FaultKind

PROGRAM = "import sys; from proxy.simulator.cli import run_simulator; sys.exit(run_simulator(sys.argv[1:]))"


async def begin(*flags: str) -> tuple[asyncio.subprocess.Process, str]:
    """A simulator in a process of its own, and the address that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "--listen", "127.0.0.1:0", *flags, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    first = (await process.stdout.readline()).decode()
    return process, first.split()[3]


async def status(url: str) -> int:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET /api.xro/2.0/Organisation HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n"
        b"Xero-Tenant-Id: t1\r\n\r\n"
    )
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_is_and_a_signal_ends_it_well(signum: signal.Signals) -> None:
    process, url = await begin("--minute-limit", "2", "--latency-ms", "1:2", "--windows", "rolling")
    try:
        assert [await status(url) for _ in range(3)] == [200, 200, 429]
        process.send_signal(signum)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_faults_are_flags_too() -> None:
    process, url = await begin("--fail-next", "1:500", "--offline", "t1")
    try:
        assert await status(url) == 503
    finally:
        process.terminate()
        assert await process.wait() == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--nothing"],
        ["--listen", "8081"],
        ["--listen", "127.0.0.1:99999"],
        ["--minute-limit", "0"],
        ["--windows", "square"],
        ["--window-seconds", "0"],
        ["--window-seconds", "nan"],
        ["--latency-ms", "300:50"],
        ["--latency-ms", "fast"],
        ["--jitter-ms", "-1"],
        ["--fail-next", "1:unheard_of"],
        ["--fail-next", "many:500"],
        ["--fail-next", "1000001:500"],
        ["--foreign-per-minute", "inf"],
        ["--seed", "pi"],
        ["--day-limit", "9" * 5000],
        ["--offline", ":5"],
        ["--maintenance", "soon"],
    ],
    ids=lambda flags: " ".join(flags)[:40],
)
def test_a_bad_flag_is_named_and_ends_with_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_simulator(flags) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert flags[0] in last
    if len(flags) > 1:
        assert re.search(
            r": (must be [^_]|invalid choice: 'square' \(choose from 'rolling', 'fixed'\))", last
        )


def test_help_tells_of_every_control_call_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_simulator(["--help"]) == 0
    told = capsys.readouterr().out
    for name in ("--foreign-per-minute", *CALLS, *ORDERS, *FaultKind):
        assert name in told
    assert max(map(len, told.splitlines())) <= 100


def test_an_address_that_is_taken_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run_simulator(["--listen", address]) == 1
    told = f"xero-proxy simulator: cannot listen on {address}: Address already in use; see --listen\n"
    assert capsys.readouterr().err == told


async def test_it_serves_on_where_nobody_reads_what_it_prints() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clock = Clock()
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        "--listen",
        f"127.0.0.1:{port}",
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    try:
        for _ in range(100):
            try:
                assert await status(f"http://127.0.0.1:{port}") == 200
                break
            except ConnectionRefusedError:
                await clock.sleep_until(clock.now() + 0.1)
    finally:
        process.terminate()
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
