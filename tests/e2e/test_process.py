"""The installed command as an operator runs it: real processes, real signals, exit codes, real time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Caller, Reply, put, request, xero
from tests.sockets import OK
from tests.sockets import serving as origin_of

COMMAND = Path(sys.executable).with_name("xero-proxy")
PATIENCE = 20.0


def environ(**settings: object) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("XERO_PROXY_")}
    return clean | {
        "XERO_PROXY_LISTEN": "127.0.0.1:0",
        "XERO_PROXY_ADMIN_LISTEN": "127.0.0.1:0",
        **{f"XERO_PROXY_{name.upper()}": str(value) for name, value in settings.items()},
    }


class Process:
    """A running `xero-proxy`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = self.admin_port = 0

    async def line(self, event: str) -> dict[str, Any]:
        """Read the log up to the first line of this event."""
        assert self.process.stdout is not None
        while text := await asyncio.wait_for(self.process.stdout.readline(), PATIENCE):
            line: dict[str, Any] = json.loads(text)
            if line["event"] == event:
                return line
        raise AssertionError(f"the log ended without {event}")

    async def ask(self, raw: bytes) -> Reply:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            return await asyncio.wait_for(Caller(reader, writer).ask(raw), PATIENCE)
        finally:
            writer.close()

    async def status(self) -> dict[str, Any]:
        """What `/status` says."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
        try:
            reply = await asyncio.wait_for(Caller(reader, writer).ask(request(b"GET /status")), PATIENCE)
        finally:
            writer.close()
        return reply.problem

    async def ends(self) -> tuple[int, str, str]:
        """Exit code and what is left of the output."""
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return self.process.returncode or 0, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def run(*arguments: str, **settings: object) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        env=environ(**settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@contextlib.asynccontextmanager
async def serving(*arguments: str, **settings: object) -> AsyncIterator[Process]:
    async with run("serve", *arguments, **settings) as process:
        listening = await process.line("listening")
        process.port = int(listening["listen"].rpartition(":")[2])
        process.admin_port = int(listening["admin_listen"].rpartition(":")[2])
        yield process


class Gate:
    """An origin that answers each request when it is told to."""

    def __init__(self) -> None:
        self.arrived = asyncio.Semaphore(0)
        self.answer = asyncio.Semaphore(0)
        self.executed = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            self.executed += 1
            self.arrived.release()
            await self.answer.acquire()
            writer.write(OK)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends_with_0(number: signal.Signals) -> None:
    gate = Gate()
    async with (
        origin_of(gate.converse) as address,
        serving(upstream=address, tenant_minute_limit=2, drain_seconds=10) as process,
    ):
        gate.answer.release()
        await process.ask(request())
        await gate.arrived.acquire()
        flying = asyncio.create_task(process.ask(put()))
        await gate.arrived.acquire()
        waiting = asyncio.create_task(process.ask(request()))
        while not (await process.status())["waiting"]:
            pass
        process.process.send_signal(number)
        refused = await waiting
        gate.answer.release()
        reply = await flying
        code, out, err = await process.ends()
    assert (reply.status, refused.status, refused.class_) == (200, 503, "draining")
    assert (code, err) == (0, "")
    assert json.loads(out.splitlines()[-1]).items() >= {"event": "stopped", "drained": True}.items()
    assert gate.executed == 2


@pytest.mark.parametrize(
    ("seconds", "signals"), [(0.3, [signal.SIGTERM]), (100, [signal.SIGINT, signal.SIGINT])]
)
async def test_what_does_not_end_in_time_or_before_a_second_ctrl_c_is_broken_off_and_answered(
    seconds: float, signals: list[signal.Signals]
) -> None:
    gate = Gate()
    async with (
        origin_of(gate.converse) as address,
        serving(upstream=address, drain_seconds=seconds) as process,
    ):
        flying = asyncio.create_task(process.ask(put()))
        await gate.arrived.acquire()
        for number in signals:
            process.process.send_signal(number)
            await process.line("draining")
        reply = await flying
        assert (reply.status, reply.class_, reply.wait) == (502, "outcome_unknown", None)
        code, out, err = await process.ends()
        assert (code, err) == (0, "")
        assert json.loads(out.splitlines()[-1]).items() >= {"event": "stopped", "drained": False}.items()
        gate.answer.release()


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [(None, 0, ""), ("/dev/full", 1, "xero-proxy check: cannot write: No space left on device\n")],
)
async def test_a_check_that_cannot_print_says_so_unless_its_reader_has_seen_enough(
    output: str | None, code: int, says: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    target = writer if output is None else os.open(output, os.O_WRONLY)
    process = await asyncio.create_subprocess_exec(
        COMMAND, "check", env=environ(), stdout=target, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    for descriptor in {writer, target}:
        os.close(descriptor)
    assert (process.returncode, err.decode()) == (code, says)


def ipv6() -> bool:
    """Whether this machine has IPv6's loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6")
async def test_an_ipv6_address_is_told_in_brackets() -> None:
    async with run("serve", "--simulator", listen="[::1]:0", admin_listen="[::1]:0") as process:
        listening = await process.line("listening")
        for name in ("listen", "admin_listen"):
            assert re.fullmatch(r"\[::1\]:[1-9]\d*", listening[name])


async def test_the_built_in_simulator_serves_a_first_look() -> None:
    async with serving("--simulator") as process:
        reply = await process.ask(request(b"GET /api.xro/2.0/Organisation", b"Accept: application/json"))
        assert (reply.status, reply.class_) == (200, "success")
        process.process.send_signal(signal.SIGTERM)
        assert (await process.ends())[0] == 0


async def test_bad_settings_end_with_2_and_name_every_variable_but_no_value() -> None:
    bad = {
        "listen": "c4n4ry",
        "retry_budget": "c4n4ry",
        "tenant_minute_limt": "c4n4ry",
        "admin_token": "a b c4n4ry",
    }
    for command in ("serve", "check"):
        async with run(command, **bad) as process:
            code, out, err = await process.ends()
        assert (code, out) == (2, "")
        for name in ("LISTEN", "RETRY_BUDGET", "TENANT_MINUTE_LIMT", "ADMIN_TOKEN"):
            assert f"XERO_PROXY_{name} " in err
        assert "did you mean XERO_PROXY_TENANT_MINUTE_LIMIT?" in err
        assert "c4n4ry" not in err


async def test_check_prints_the_settings_and_masks_the_secrets() -> None:
    async with run("check", admin_token="c4n4ry-c4n4ry-c4n4ry", retry_budget=0.5) as process:
        code, out, err = await process.ends()
    assert (code, err) == (0, "")
    assert "XERO_PROXY_ADMIN_TOKEN=********\n" in out
    assert "XERO_PROXY_RETRY_BUDGET=0.5\n" in out
    assert "XERO_PROXY_MAX_WAIT_SECONDS=120\n" in out
    assert "c4n4ry" not in out


@pytest.mark.parametrize("which", ["listen", "admin_listen"])
async def test_a_port_in_use_ends_with_1_and_says_which(which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with run("serve", **{which: f"127.0.0.1:{port}"}) as process:
            line = await process.line("cannot_start")
            code, out, err = await process.ends()
    assert (code, out, err) == (1, "", "")
    wanted = f"cannot listen on 127.0.0.1:{port}: Address already in use. XERO_PROXY_{which.upper()} "
    assert line["reason"].startswith(wanted)


@pytest.mark.parametrize("name", [b"Prefer", b"Priority", b"Connection", b"Accept", b"Expect"])
async def test_no_field_of_a_callers_freezes_the_process(name: bytes) -> None:
    async with serving("--simulator") as process:
        for unit in (b"; ", b" ;", b"a=", b'"', b"(a "):
            await process.ask(request(b"GET /connections", name + b": a" + unit * 2000 + b"@"))
        process.port = process.admin_port
        assert (await process.ask(request(b"GET /livez"))).body == b"alive\n"
        process.process.send_signal(signal.SIGTERM)
        assert (await process.ends())[0] == 0


async def test_an_unread_log_stops_nothing() -> None:
    async with xero(minute_limit=10_000, day_limit=10_000) as simulator:
        limits = {"tenant_minute_limit": 10_000, "tenant_day_limit": 10_000}
        async with serving(upstream=simulator.url, **limits) as process:
            for _ in range(20):
                replies = await asyncio.gather(*(process.ask(request()) for _ in range(25)))
                assert {reply.status for reply in replies} == {200}


async def test_without_the_parser_in_c_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOHTTP_NO_EXTENSIONS", "1")
    async with run("serve", listen="127.0.0.1:0", admin_listen="127.0.0.1:0") as process:
        code, out, err = await process.ends()
    assert code == 2
    assert "AIOHTTP_NO_EXTENSIONS" in out + err
