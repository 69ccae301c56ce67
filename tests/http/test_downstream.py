"""The callers' side as a whole: handlers that fail, draining, closing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from proxy.http.callers import Call
from tests.sockets import (
    answer_to,
    caller,
    downstream,
    read_answer,
    request,
    status,
    until,
)


async def test_a_handler_that_crashes_is_answered_500_and_told_by_type_and_place_only() -> None:
    async def crash(call: Call) -> None:
        raise KeyError(f"canary {call.target!r}")

    async with downstream(crash) as proxied:
        head, body = await answer_to(proxied.port, request())
        assert (status(head), b"canary" in head + body) == (500, False)
        assert b"Connection: close" in head
        assert len(proxied.crashes) == 1
        assert proxied.crashes[0].startswith("KeyError at test_downstream.py:")
        assert "canary" not in proxied.crashes[0]


async def test_a_handler_that_forgets_to_answer_is_answered_for() -> None:
    async def forget(call: Call) -> None:
        pass

    async with downstream(forget) as proxied:
        assert status((await answer_to(proxied.port, request()))[0]) == 500


async def test_draining_lets_answers_finish_and_takes_no_new_connections() -> None:
    release = asyncio.Event()
    calls: list[Call] = []

    async def wait(call: Call) -> None:
        calls.append(call)
        await release.wait()
        await call.respond(200, b"", (), b"done")

    async with (
        downstream(wait) as proxied,
        caller(proxied.port) as (idle, _),
        caller(proxied.port) as (reader, writer),
    ):
        writer.write(request())
        await until(lambda: calls)
        proxied.downstream.drain()
        assert await idle.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxied.port)
        release.set()
        head, body = await read_answer(reader)
        assert b"Connection: close" in head
        assert body == b"done"
        assert await reader.read() == b""
        await proxied.downstream.finished()


async def test_closing_cancels_handlers_that_are_left() -> None:
    begun: list[Call] = []
    cancelled: list[bool] = []

    async def hang(call: Call) -> None:
        begun.append(call)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(call.gone)
            raise

    async with downstream(hang) as proxied, caller(proxied.port) as (reader, writer):
        writer.write(request())
        await until(lambda: begun)
        await proxied.downstream.close()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    assert len(cancelled) == 1
