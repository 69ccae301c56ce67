"""What the operating system does to the process: signals, descriptors, pipes that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import Clock
from tests.e2e.harness import Caller, Reply, put, request
from tests.faults.processes import PATIENCE, elapsed, marked, need_descriptors, origin, sidecar, started
from tests.sockets import read_request, serving

QUEUED, FLYING, TENANTS = 1000, 100, 20
CALLERS = 100


async def only_answer(caller: Caller, raw: bytes) -> Reply:
    """The answer to a request; nothing may follow it but the end of the connection."""
    reply = await asyncio.wait_for(caller.ask(raw), PATIENCE)
    assert await asyncio.wait_for(caller.reader.read(), PATIENCE) == b""
    return reply


async def test_sigterm_with_a_thousand_queued() -> None:
    """Everybody in line is answered exactly once: who can still be served is, the others get 503 at once;
    nothing is sent twice, and the process ends with 0 within `DRAIN_SECONDS`.
    """
    need_descriptors(3000)
    settings: dict[str, Any] = {"tenant_minute_limit": 30, "drain_seconds": 20}
    async with (
        origin() as xero,
        sidecar(xero.url, **settings) as process,
        contextlib.AsyncExitStack() as stack,
    ):
        xero.gate.clear()
        asking = {}
        for number in range(FLYING + QUEUED):
            caller = await stack.enter_async_context(process.caller())
            raw = marked(number, f"t{number % TENANTS}")
            asking[str(number)] = asyncio.create_task(only_answer(caller, raw))
        await process.waiting(QUEUED)
        began = Clock().now()
        process.tell()
        await process.logged("draining")
        xero.gate.set()
        replies = dict(zip(asking, await asyncio.gather(*asking.values()), strict=True))
        code = await process.ended()
    assert code == 0
    assert elapsed(began) < 20
    assert process.lines[-1].items() >= {"event": "stopped", "drained": True}.items()
    answers = Counter((reply.status, reply.class_) for reply in replies.values())
    assert answers == {(200, "success"): 30 * TENANTS, (503, "draining"): FLYING + QUEUED - 30 * TENANTS}
    assert xero.executed == Counter(mark for mark, reply in replies.items() if reply.status == 200)
    assert len(await process.logged("request")) == FLYING + QUEUED


async def test_64_file_descriptors() -> None:
    """Callers for whom no descriptor is left wait unaccepted; those inside, and the admin port, are served
    meanwhile. It neither spins nor floods the log, and goes on by itself when descriptors are free.
    """
    async with (
        origin() as xero,
        sidecar(xero.url, first="ulimit -n 64", tenant_minute_limit=1000) as process,
        contextlib.AsyncExitStack() as inside,
    ):
        xero.gate.clear()
        first = [await inside.enter_async_context(process.caller()) for _ in range(CALLERS)]
        asking = [
            asyncio.create_task(caller.ask(marked(number, f"t{number}")))
            for number, caller in enumerate(first)
        ]
        while not xero.executed:
            await asyncio.wait(asking, timeout=0.05)
        spent, lines = process.cpu(), len(process.lines)
        status = json.loads(await process.admin("/status"))
        await asyncio.wait(asking, timeout=1.0)
        assert process.cpu() - spent < 0.5
        assert len(process.lines) - lines <= 2
        assert 0 < sum(tenant["in_flight"] for tenant in status["tenants"]) < CALLERS
        xero.gate.set()

        async def served(number: int) -> Reply:
            reply = await asyncio.wait_for(asking[number], PATIENCE)
            first[number].leave()
            return reply

        replies = await asyncio.gather(*(served(number) for number in range(CALLERS)))
        assert {reply.status for reply in replies} == {200}
        assert set(xero.executed.values()) == {1}
        assert (await process.ask(marked("after"))).status == 200


HANGING_LOOKUPS = """
import socket, sys, time
known = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **options: (
    time.sleep(39.0) if host == "xero.test" else known(host, *rest, **options)
)
from proxy.cli import main
sys.exit(main())
"""
"""A resolver that nobody answers keeps its thread for so long, and nothing can end it."""


@pytest.mark.parametrize("callers", [1, CALLERS])
async def test_exit_while_lookups_hang(callers: int) -> None:
    """Everybody is answered, and the process ends with 0 within `DRAIN_SECONDS` and two more."""
    command = (sys.executable, "-c", HANGING_LOOKUPS)
    settings: dict[str, Any] = {"drain_seconds": 1, "connect_timeout_seconds": 20}
    async with (
        started("http://xero.test:1", command=command, **settings) as process,
        contextlib.AsyncExitStack() as stack,
    ):
        asking = []
        for number in range(callers):
            caller = await stack.enter_async_context(process.caller())
            asking.append(asyncio.create_task(caller.ask(marked(number, f"t{number}"))))
        while sum(each["in_flight"] for each in (await process.status())["tenants"]) < callers:
            assert process.process.returncode is None
        began = Clock().now()
        code = await process.stop()
        assert elapsed(began) < 3
        replies = await asyncio.gather(*asking)
    assert code == 0
    assert process.errors == b""
    assert {reply.status for reply in replies} <= {502, 503}
    assert len(await process.logged("request")) == callers


async def test_a_log_pipe_that_nobody_reads() -> None:
    """Requests are served all the same; lines for which there is no room are dropped and counted in
    `xero_proxy_log_dropped_total`. The process still ends in time.
    """
    async with origin() as xero, sidecar(xero.url) as process:
        await process.read_no_more()
        refused = request(b"GET /", b"Xero-Tenant-Id: " + b"t" * 200)
        async with process.caller() as caller:
            while not await process.count("log_dropped_total"):
                for _ in range(10):
                    caller.writer.write(refused * 200)
                    await answers(caller, b"HTTP/1.1 400 ", 200)
        assert (await process.ask(request())).status == 200
        began = Clock().now()
        process.tell()
        await process.left()
        assert elapsed(began) < 10


async def answers(caller: Caller, status_line: bytes, count: int) -> None:
    """Read until so many answers with this status line have begun."""
    got = b""
    while got.count(status_line) < count:
        piece = await asyncio.wait_for(caller.reader.read(1 << 20), PATIENCE)
        assert piece
        got += piece


async def test_more_is_pipelined_than_is_kept_ahead() -> None:
    """Requests beyond 64 KiB wait in the caller's socket and are read in order: an answer for each."""
    async with origin() as xero, sidecar(xero.url) as process, process.caller() as caller:
        caller.writer.write(request(b"GET /", b"Xero-Tenant-Id: " + b"t" * 200) * 2000)
        await answers(caller, b"HTTP/1.1 400 ", 2000)


AHEAD = """
import pathlib, time
real, ahead = time.time, pathlib.Path(__file__).with_name("ahead")
time.time = lambda: real() + float(ahead.read_text())
"""


async def test_a_process_that_is_stopped_while_a_reply_is_lost(tmp_path: Path) -> None:
    """Stopped (SIGSTOP, a frozen container, a paused machine) for longer than Xero keeps a key, by whichever
    clock: the write that was executed is not sent again, 502 `outcome_unknown`.
    """
    (tmp_path / "sitecustomize.py").write_text(AHEAD)
    (tmp_path / "ahead").write_text("0")
    sent, arrived, lost = list[bytes](), asyncio.Event(), asyncio.Event()

    async def lose(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        sent.append(await read_request(reader))
        arrived.set()
        await lost.wait()

    environment = {"PYTHONPATH": str(tmp_path)}
    async with serving(lose) as xero, sidecar(str(xero), environment=environment) as process:
        asking = asyncio.create_task(process.ask(put()))
        await asyncio.wait_for(arrived.wait(), PATIENCE)
        os.kill(process.pid, signal.SIGSTOP)
        lost.set()
        (tmp_path / "ahead").write_text("370")
        os.kill(process.pid, signal.SIGCONT)
        reply = await asking
    assert (reply.status, reply.class_, reply.attempts, len(sent)) == (502, "outcome_unknown", 1, 1)
