"""Attempts that bring no response: what happened, and whether anything was sent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from config.values import Origin
from proxy.clock import Clock
from proxy.http.spool import SpoolFile
from tests.certificates import LOCALHOST, server_tls
from tests.sockets import (
    OK,
    Close,
    answering,
    bad,
    get,
    good,
    kept,
    local,
    read_request,
    serving,
    upstream,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 999 High\r\n\r\n",
        b"HTTP/1.1 600 High\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000,
    ],
)
async def test_what_is_no_plain_answer_is_garbage(raw: bytes) -> None:
    async with answering(raw) as (up, seen):
        failure = await bad(up)
        await bad(up)
    assert (failure.name, failure.sent, failure.error) == ("upstream_garbage", True, "http_protocol_error")
    assert seen.connections == 2


@pytest.mark.parametrize(
    ("raw", "first"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", b""),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 3\r\n\r\nabc", b"b c"),
        (CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", b""),
    ],
)
async def test_what_aiohttp_reads_though_it_is_not_strict_http_is_an_answer(raw: bytes, first: bytes) -> None:
    """Nobody but we read these connections, so that nobody can understand them in another way."""
    async with answering(raw) as (up, _):
        response = await good(up)
    assert (response.first, response.fields.get(b"a", b"")) == (b"abc", first)


async def test_a_body_whose_later_chunk_is_malformed_is_garbage_at_once() -> None:
    """aiohttp alone would wait for its rest for ever."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"3\r\nabc\r\n")
        await heard.wait()
        writer.write(b"zz\r\n")
        await reader.read()

    heard = asyncio.Event()
    async with serving(converse) as address, upstream(address, timeout=330) as up:
        failure = await bad(up, replace(get(), heard=lambda *_: heard.set()))
    assert (failure.name, failure.sent) == ("upstream_garbage", True)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (Close(b""), "upstream_reset"),
        (Close(b"HTTP/1.1 200"), "upstream_truncated"),
        (Close(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), "upstream_truncated"),
        (Close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "upstream_truncated"),
        (Close(b"HTTP/1.1 100 Continue\r\n\r\n"), "upstream_reset"),
    ],
)
async def test_an_answer_that_breaks_off_is_no_answer(raw: bytes, name: str) -> None:
    async with answering(raw) as (up, _):
        failure = await bad(up)
    assert (failure.name, failure.sent) == (name, True)


@pytest.mark.looptime
async def test_an_origin_that_never_answers_is_given_up_at_the_deadline() -> None:
    clock = Clock()
    began = clock.now()
    async with answering(b"", timeout=330) as (up, _):
        failure = await bad(up)
        elapsed = clock.now() - began
    assert (failure.name, failure.sent) == ("upstream_timeout", True)
    assert 330 <= elapsed <= 331


@pytest.mark.looptime
async def test_endless_1xx_do_not_move_the_deadline() -> None:
    clock = Clock()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            await writer.drain()
            await clock.sleep_until(clock.now() + 5)

    began = clock.now()
    async with serving(drip) as address, upstream(address, timeout=60) as up:
        assert (await bad(up)).name == "upstream_timeout"
        assert 60 <= clock.now() - began <= 61


@pytest.mark.looptime
async def test_a_body_that_stops_coming_is_given_up() -> None:
    clock = Clock()
    began = clock.now()
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", timeout=20) as (up, _):
        assert (await bad(up)).name == "upstream_timeout"
        assert 20 <= clock.now() - began < 21


async def test_a_refused_connection_was_never_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with upstream(local(port)) as up:
        failure = await bad(up)
    assert (failure.name, failure.sent, failure.error) == ("connect_failed", False, "connection_refused")


async def test_a_name_that_does_not_resolve_was_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with upstream(Origin("http", "no.such.test", 80)) as up:
        failure = await bad(up)
    assert (failure.name, failure.sent, failure.error) == ("dns_failed", False, "dns_error")


async def test_a_host_that_speaks_no_tls_was_never_sent() -> None:
    heard = b""

    async def speak_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(speak_no_tls) as address, upstream(local(address.port, "https")) as up:
        failure = await bad(up)
    assert (failure.name, failure.sent) == ("tls_failed", False)
    assert b"HTTP" not in heard


@pytest.mark.looptime
async def test_a_connection_that_does_not_come_about_in_time_was_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", hang)
    async with upstream(local(80), connect_timeout=10) as up:
        failure = await bad(up)
    assert (failure.name, failure.sent, failure.error) == ("connect_failed", False, "connection_timeout")


async def test_a_certificate_that_nobody_vouches_for_ends_the_attempt_unsent() -> None:
    async with tls_origin() as address, upstream(address) as up:
        failure = await bad(up)
    assert (failure.name, failure.sent, failure.error) == ("tls_failed", False, "tls_certificate_error")


async def test_a_certificate_for_another_name_ends_the_attempt_unsent() -> None:
    trusting = ssl.create_default_context(cafile=LOCALHOST)
    async with tls_origin() as address, upstream(address, tls=trusting) as up:
        failure = await bad(up)
    assert (failure.name, failure.sent, failure.error) == ("tls_failed", False, "tls_certificate_error")


async def test_tls_with_a_good_certificate_carries_requests_and_keeps_the_connection() -> None:
    trusting = ssl.create_default_context(cafile=LOCALHOST)
    async with (
        tls_origin() as address,
        upstream(Origin("https", "localhost", address.port), tls=trusting) as up,
    ):
        assert [(await good(up)).first for _ in range(3)] == [b"1", b"2", b"3"]


@contextlib.asynccontextmanager
async def tls_origin() -> AsyncIterator[Origin]:
    """An origin that answers with the number of the request on its connection."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(1, 9):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)

    async with serving(converse, tls=server_tls()) as address:
        yield address


async def test_a_kept_body_that_cannot_be_read_gives_the_attempt_up_half_sent() -> None:
    spool = SpoolFile()
    body = await kept(b"x" * 1_000_000, 1, spool)
    os.ftruncate(spool.fileno(), 300_000)
    async with answering(OK) as (up, seen):
        failure = await bad(up, get(method="POST", body=body))
    assert (failure.name, failure.sent, failure.error) == ("upstream_reset", True, "proxy_internal_error")
    assert seen.requests == []
