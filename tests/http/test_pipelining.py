"""Requests that a caller sends before it has the answer to the one before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from proxy.clock import Clock
from proxy.http.callers import MAX_AHEAD, Call
from tests.sockets import Proxied, caller, downstream, ok, read_answer, request, reset_on_close, status, until

WRITE_TIMEOUT = 300.0
MANY = [request(b"GET /%d" % number) for number in range(2 * MAX_AHEAD // 20)]


class Slow:
    """Answers each request when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.told: list[str] = []
        self.answer = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)
        call.on_gone = lambda: self.told.append("gone")
        await self.answer.wait()
        await call.respond(200, b"OK", (), b"x")


async def passes(seconds: float) -> None:
    clock = Clock()
    await clock.sleep_until(clock.now() + seconds)


@contextlib.asynccontextmanager
async def crowded(slow: Slow) -> AsyncIterator[tuple[Proxied, asyncio.StreamWriter]]:
    """A caller from which nothing more is read, so much has it sent ahead."""
    async with downstream(slow) as proxied, caller(proxied.port) as (_, writer):
        writer.write(b"".join(MANY))
        await writer.drain()
        (server,) = await _callers(proxied)
        await until(lambda: slow.calls and server._paused)
        yield proxied, writer


async def _callers(proxied: Proxied) -> list[Any]:
    await until(lambda: proxied.downstream.callers)
    return list(proxied.downstream.callers)


@pytest.mark.looptime
@pytest.mark.parametrize("ahead", [2, len(MANY)])
async def test_a_caller_that_reads_no_answer_is_cut_off_whatever_it_has_sent_ahead(ahead: int) -> None:
    answered: list[bytes] = []

    async def large(call: Call) -> None:
        answered.append(call.target)
        await call.respond(200, b"OK", (), b"x" * 9_000_000)

    async with (
        downstream(large, idle_timeout=10_000, write_timeout=WRITE_TIMEOUT) as proxied,
        caller(proxied.port) as (_, writer),
    ):
        cast("asyncio.Transport", writer.transport).pause_reading()
        writer.write(b"".join(MANY[:ahead]))
        await until(lambda: answered)
        await passes(WRITE_TIMEOUT - 5)
        assert proxied.downstream.callers
        await passes(10)
        assert not proxied.downstream.callers
    assert answered == [b"/0"]
    assert proxied.crashes == []


@pytest.mark.looptime
async def test_a_caller_that_reads_no_answer_is_cut_off_however_long_it_goes_on_sending() -> None:
    answered: list[bytes] = []

    async def large(call: Call) -> None:
        answered.append(call.target)
        await call.respond(200, b"OK", (), b"x" * 9_000_000)

    async with (
        downstream(large, write_timeout=WRITE_TIMEOUT) as proxied,
        caller(proxied.port) as (_, writer),
    ):
        cast("asyncio.Transport", writer.transport).pause_reading()
        for _ in range(round(WRITE_TIMEOUT) - 5):
            writer.write(MANY[0])
            await passes(1.0)
        assert proxied.downstream.callers
        for _ in range(10):
            writer.write(MANY[0])
            await passes(1.0)
        assert not proxied.downstream.callers
    assert answered == [b"/0"]
    assert proxied.crashes == []


@pytest.mark.looptime
@pytest.mark.parametrize("reset", [True, False])
async def test_a_caller_that_leaves_behind_what_it_sent_ahead_is_noticed_within_a_second(reset: bool) -> None:
    slow = Slow()
    async with crowded(slow) as (proxied, writer):
        await passes(5.0)
        assert slow.told == []
        if reset:
            reset_on_close(writer.get_extra_info("socket"))
        writer.close()
        await passes(1.1)
        assert slow.told == ["gone"]
        slow.answer.set()
        await until(lambda: not proxied.downstream.callers)
    assert [call.target for call in slow.calls] == [b"/0"]


@pytest.mark.parametrize("reset", [True, False])
async def test_what_a_caller_sent_ahead_is_not_begun_once_it_has_gone(reset: bool) -> None:
    slow = Slow()
    async with crowded(slow) as (proxied, writer):
        if reset:
            reset_on_close(writer.get_extra_info("socket"))
        writer.close()
        await writer.wait_closed()
        slow.answer.set()
        await until(lambda: not proxied.downstream.callers)
    assert [call.target for call in slow.calls] == [b"/0"]


async def test_all_that_was_sent_ahead_is_answered_in_its_order_where_the_caller_stays() -> None:
    async with downstream(ok) as proxied, caller(proxied.port) as (reader, writer):
        writer.write(b"".join(MANY))
        for number in range(len(MANY)):
            head, _ = await read_answer(reader)
            assert status(head) == 200
            assert b"X-Target: /%d\r\n" % number in head


async def test_what_is_sent_ahead_byte_by_byte_is_copied_once() -> None:
    """However much is there already."""
    slow = Slow()
    async with downstream(slow) as proxied, caller(proxied.port) as (_, writer):
        writer.write(request())
        await until(lambda: slow.calls)
        (server,) = await _callers(proxied)
        kept = server._incoming.data
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\n" * 40:
            server.data_received(bytes([byte]))
        assert server._incoming.data is kept
        assert len(kept) == 40 * 25
        slow.answer.set()
