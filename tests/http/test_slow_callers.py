"""Callers that are slow or leave."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.clock import Clock
from proxy.http.body import Body, BodyProblem, BodyStore
from proxy.http.callers import Call
from tests.sockets import (
    caller,
    downstream,
    forwarder,
    keeping,
    ok,
    origin,
    proxy,
    read_answer,
    request,
    status,
    until,
    upstream,
)


async def test_a_malformed_chunk_ends_the_wait_for_the_body_at_once() -> None:
    seen: list[Body | BodyProblem | None] = []
    async with (
        downstream(keeping(BodyStore(100, 100), seen)) as proxied,
        caller(proxied.port) as (reader, writer),
    ):
        writer.write(request(b"POST /", b"Transfer-Encoding: chunked", body=b"3\r\nab"))
        await until(lambda: proxied.downstream.callers)
        writer.write(b"cX\r\n")
        assert status((await read_answer(reader))[0]) == 400
        assert await reader.read() == b""
    assert seen == [BodyProblem.MALFORMED]


async def test_a_caller_that_leaves_is_noticed_while_it_waits() -> None:
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    calls: list[Call] = []

    async def wait(call: Call) -> None:
        calls.append(call)
        call.on_gone = lambda: gone.set_result(None)
        await gone
        assert await call.respond(200, b"", (), b"x") == 0

    async with downstream(wait) as proxied:
        async with caller(proxied.port) as (_, writer):
            writer.write(request())
            await until(lambda: calls)
            assert [call.gone for call in calls] == [False]
        await gone
        assert [call.gone for call in calls] == [True]
        await until(lambda: not proxied.downstream.callers)
    assert proxied.crashes == []


async def test_a_caller_that_leaves_in_mid_upload_sends_nothing_on() -> None:
    async with proxy() as (port, seen):
        async with caller(port) as (_, writer):
            writer.write(request(b"POST /", b"Content-Length: 100", body=b"half"))
            await writer.drain()
        async with caller(port) as (reader, writer):
            writer.write(request(b"GET /next"))
            await read_answer(reader)
    assert [line.split(b" HTTP")[0] for line in seen.requests] == [b"GET /next"]


async def test_a_caller_that_leaves_during_the_answer_ends_the_upstream_read() -> None:
    body = b"x" * 30_000_000
    async with (
        origin(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as seen,
        upstream(seen.address) as up,
        downstream(forwarder(up)) as proxied,
    ):
        async with caller(proxied.port) as (reader, writer):
            writer.write(request())
            await reader.readexactly(1000)
            writer.transport.abort()
        await until(lambda: not proxied.downstream.callers)
    assert proxied.crashes == []


@pytest.mark.looptime
@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_arrive_in_time_is_given_up(begun: bytes) -> None:
    clock = Clock()
    began = clock.now()
    async with (
        downstream(ok, head_timeout=20, idle_timeout=75) as proxied,
        caller(proxied.port) as (reader, writer),
    ):
        writer.write(begun)
        answer = await reader.read()
        elapsed = clock.now() - began
    if begun:
        assert status(answer) == 408
        assert 20 <= elapsed < 24
    else:
        assert answer == b""
        assert 75 <= elapsed < 77


@pytest.mark.looptime
async def test_a_head_that_drips_in_is_bounded_from_its_first_byte() -> None:
    clock = Clock()
    began = clock.now()

    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 15:
            writer.write(bytes([byte]))
            await clock.sleep_until(clock.now() + 1)

    async with downstream(ok, head_timeout=20) as proxied, caller(proxied.port) as (reader, writer):
        dripping = asyncio.create_task(drip(writer))
        assert status((await read_answer(reader))[0]) == 408
        assert 20 <= clock.now() - began <= 22
        dripping.cancel()


@pytest.mark.looptime
async def test_a_body_that_stops_coming_is_a_stall() -> None:
    clock = Clock()
    seen: list[Body | BodyProblem | None] = []
    async with (
        downstream(keeping(BodyStore(100, 100), seen), body_timeout=30) as proxied,
        caller(proxied.port) as (reader, writer),
    ):
        writer.write(request(b"POST /", b"Content-Length: 50", body=b"a"))
        await clock.sleep_until(clock.now() + 20)
        writer.write(b"b")
        await clock.sleep_until(clock.now() + 20)
        assert seen == []
        head, _ = await read_answer(reader)
        assert status(head) == 400
    assert seen == [BodyProblem.STALLED]


@pytest.mark.looptime
async def test_a_caller_that_does_not_read_is_cut_off() -> None:
    body = b"x" * 50_000_000
    async with (
        origin(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as seen,
        upstream(seen.address) as up,
        downstream(forwarder(up), write_timeout=300) as proxied,
        caller(proxied.port) as (_, writer),
    ):
        cast("asyncio.Transport", writer.transport).pause_reading()
        writer.write(request())
        await until(lambda: seen.requests)
        clock = Clock()
        await clock.sleep_until(clock.now() + 320)
        assert not proxied.downstream.callers
    assert proxied.crashes == []
