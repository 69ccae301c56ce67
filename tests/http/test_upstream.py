"""One attempt over real sockets: what is sent, what comes back, and how connections are used again."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from dataclasses import replace
from math import inf

import pytest

from config.values import Origin
from proxy.clock import Clock
from proxy.core.model import Failure
from proxy.http.upstream import Upstream
from tests.sockets import OK, Close, answering, bad, get, good, kept, read_request, serving, until, upstream


@pytest.mark.parametrize(
    "target", [b"/a%2Fb/../%C3%a9?q=%zz&r=|", b"//evil.test/", b"/?", b"/a?b#c", b"/~x/a b"]
)
async def test_target_order_and_bytes_of_fields_go_out_unchanged(target: bytes) -> None:
    headers = ((b"X-One", "\u00e9".encode()), (b"a", b""), (b"X-One", b"3"), (b"If-Match", b"'\t\""))
    async with answering(OK) as (up, seen):
        await good(up, get(target, headers=headers))
    assert seen.requests == [
        b"GET %b HTTP/1.1\r\nHost: %b\r\n"
        b"X-One: \xc3\xa9\r\na: \r\nX-One: 3\r\nIf-Match: '\t\"\r\n\r\n" % (target, seen.address.authority)
    ]


async def test_no_field_of_a_repeated_name_is_lost_and_all_are_spelled_as_the_first() -> None:
    headers = ((b"X-One", b"1"), (b"x-ONE", b"2"), (b"x-one", b"3"))
    async with answering(OK) as (up, seen):
        await good(up, get(headers=headers))
    assert b"X-One: 1\r\nX-One: 2\r\nX-One: 3\r\n\r\n" in seen.requests[0]


@pytest.mark.parametrize("memory", [1_000_000, 1])
@pytest.mark.parametrize("size", [0, 2, 100_000, 700_000])
async def test_a_body_is_framed_by_exactly_one_length_and_arrives_whole(size: int, memory: int) -> None:
    body = await kept(b"x" * size, memory)
    async with answering(OK) as (up, seen):
        await good(up, get(method="POST", body=body))
        await good(up, get(method="POST", body=body))
    for request in seen.requests:
        head, _, sent = request.partition(b"\r\n\r\n")
        assert head.lower().count(b"content-length") == 1
        assert b"transfer-encoding" not in head.lower()
        assert sent == b"x" * size
    assert len(seen.requests) == 2


@pytest.mark.parametrize(
    ("method", "framed"),
    [("POST", True), ("PUT", True), ("PATCH", True), ("DELETE", True), ("GET", False)],
)
async def test_only_what_may_have_a_body_declares_its_absence(method: str, framed: bool) -> None:
    async with answering(OK) as (up, seen):
        await good(up, get(method=method))
    assert (b"Content-Length: 0\r\n" in seen.requests[0]) is framed


@pytest.mark.parametrize("target", [b"", b".evil.test/", b"http://evil.test/", b"*", b"@evil.test"])
async def test_what_is_no_path_is_never_sent(target: bytes) -> None:
    """With scheme and host from the settings, such a target would carry the token to another host."""
    async with answering(OK) as (up, seen):
        with pytest.raises(ValueError, match="only a path"):
            await up.send(get(target))
    assert seen.connections == 0


async def test_a_response_comes_back_with_reason_order_case_bytes_and_repetition() -> None:
    fields = b"Server: a\r\nset-cookie: 1\r\nSet-Cookie: 2\r\nX: \xfe\r\nContent-Length: 3"
    raw = b"HTTP/1.1 201 Cr\xffeated\r\n" + fields + b"\r\n\r\nabc"
    async with answering(raw) as (up, _):
        response = await good(up)
    assert (response.status, response.reason) == (201, b"Cr\xffeated")
    assert (response.first, response.complete) == (b"abc", True)
    assert response.fields.raw[:4] == (
        (b"Server", b"a"),
        (b"set-cookie", b"1"),
        (b"Set-Cookie", b"2"),
        (b"X", b"\xfe"),
    )


async def test_a_compressed_body_is_not_touched() -> None:
    body = gzip.compress(b"x" * 1000)
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with answering(raw) as (up, _):
        assert (await good(up)).first == body


async def test_cookies_are_not_remembered_and_redirects_not_followed() -> None:
    raw = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nSet-Cookie: tenant=1\r\nContent-Length: 0\r\n\r\n"
    async with answering(raw) as (up, seen):
        assert (await good(up, get(method="POST"))).status == 302
        await good(up)
    assert len(seen.requests) == 2
    assert all(b"ookie" not in request for request in seen.requests)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX: 1\r\n\r\n",
            b"abcde",
        ),
        (Close(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"), b"until the end"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b""),
    ],
)
async def test_every_way_to_end_a_body(raw: bytes, body: bytes) -> None:
    async with answering(raw) as (up, _):
        response = await good(up)
    assert (response.first, response.complete) == (body, True)


async def test_a_response_to_head_has_no_body_and_keeps_its_length() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n") as (up, seen):
        response = await good(up, get(method="HEAD"))
        assert (response.first, response.complete, response.length) == (b"", True, 10)
        await good(up, get(method="HEAD"))
    assert seen.connections == 2


async def test_connections_are_used_again() -> None:
    async with answering(OK) as (up, seen):
        for _ in range(5):
            await good(up)
    assert (seen.connections, len(seen.requests)) == (1, 5)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
    ],
)
async def test_a_connection_that_ends_or_holds_more_bytes_is_not_used_again(raw: bytes) -> None:
    async with answering(raw) as (up, seen):
        for _ in range(3):
            assert (await good(up)).first == b"ok"
    assert seen.connections == 3


async def test_bytes_right_behind_an_answer_after_which_the_peer_closes_leave_no_answer() -> None:
    """aiohttp's parser refuses all that came with them: whether a write was executed is unknown then."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok and more"
    async with answering(raw) as (up, _):
        failure = await bad(up)
    assert (failure.name, failure.sent) == ("upstream_garbage", True)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_nothing_is_sent_twice_when_a_pooled_connection_turns_out_dead(method: str) -> None:
    """The origin executes the second request and closes: a hidden retry would execute it again."""

    def once(request: bytes) -> bytes:
        return OK if b"/first" in request else Close(b"")

    async with answering(once) as (up, seen):
        await good(up, get(b"/first"))
        failure = await bad(up, get(b"/second", method=method))
    assert (failure.name, failure.sent) == ("upstream_reset", True)
    assert sum(b"/second" in request for request in seen.requests) == 1


async def test_a_pooled_connection_that_was_closed_meanwhile_is_replaced_before_anything_is_sent() -> None:
    async with answering(OK) as (up, seen):
        await good(up)
        seen.writers[0].close()
        await seen.writers[0].wait_closed()
        await good(up, get(b"/second", method="PUT"))
    assert (seen.connections, len(seen.requests)) == (2, 2)


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_bytes_pushed_on_an_idle_connection_never_reach_another_caller(turns: int) -> None:
    """However little time the event loop had to notice them: even none at all."""
    async with answering(OK) as (up, seen):
        await good(up)
        seen.writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await seen.writers[0].drain()
        for _ in range(turns):
            await Clock().sleep_until(0)
        assert (await good(up)).first == b"ok"
    assert seen.connections == 2


async def test_idle_connections_are_not_used_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(OK) as (up, seen):
        await good(up)
        monkeypatch.setattr("aiohttp.connector.monotonic", lambda: inf)
        await good(up)
    assert seen.connections == 2


async def test_an_answer_that_comes_before_the_body_was_sent_is_read_and_the_connection_dropped() -> None:
    ended: list[int] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            ended.append(len(await reader.read()))

    body = await kept(b"x" * 30_000_000, memory=1)
    async with serving(refuse) as address, upstream(address) as up:
        assert (await good(up, get(method="POST", body=body))).status == 413
        await until(lambda: ended)
    assert ended[0] < body.size


async def test_a_cancelled_attempt_drops_its_connection() -> None:
    async with answering(b"") as (up, seen):
        task = asyncio.create_task(up.send(get()))
        await until(lambda: seen.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(seen.writers[0].is_closing)


async def test_closing_ends_every_attempt_with_a_failure_and_allows_no_other() -> None:
    async with answering(b"") as (up, seen):
        task = asyncio.create_task(up.send(get()))
        await until(lambda: seen.requests)
        await up.close()
        assert await task == Failure(
            "upstream_reset",
            sent=True,
            error="connection_terminated",
            detail="Xero closed the connection without an answer.",
        )
        later = await up.send(get())
        assert isinstance(later, Failure)
        assert (later.name, later.sent, len(seen.requests)) == ("connect_failed", False, 1)


async def test_closing_ends_the_wait_for_a_connection() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = Origin("https", "127.0.0.1", listening.getsockname()[1])
    with listening:
        up = Upstream(address, address, connect_timeout=10.0, timeout=10.0, clock=Clock())
        listening.setblocking(False)
        task = asyncio.create_task(up.send(get()))
        peer, _ = await asyncio.get_running_loop().sock_accept(listening)
        await up.close()
        peer.close()
        result = await task
    assert isinstance(result, Failure)
    assert (result.name, result.sent) == ("connect_failed", False)


@pytest.mark.parametrize("turns", range(12))
async def test_whenever_all_is_closed_what_is_said_to_be_unsent_has_not_arrived(turns: int) -> None:
    async with answering(OK) as (up, seen):
        sending = asyncio.create_task(up.send(get()))
        for _ in range(turns):
            await Clock().sleep_until(0)
        await up.close()
        result = await sending
        for _ in range(5):
            await Clock().sleep_until(0)
        if isinstance(result, Failure) and not result.sent:
            assert (result.name, seen.requests) == ("connect_failed", [])


async def test_a_body_that_ends_with_its_connection_is_cut_where_we_end_that() -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nthe beginning")
        await reader.read()

    async with serving(begin) as address, upstream(address) as up:
        heard: list[int] = []
        sending = asyncio.create_task(up.send(replace(get(), heard=lambda *answer: heard.append(answer[0]))))
        await until(lambda: heard)
        await up.close()
        failure = await sending
    assert isinstance(failure, Failure)
    assert (failure.name, failure.sent) == ("upstream_truncated", True)
