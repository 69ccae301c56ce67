"""Messages over real sockets, through the whole path: what passes, how it is framed, what never passes."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from proxy.http.body import Body, BodyProblem, BodyStore
from proxy.http.callers import Call
from tests.sockets import (
    Close,
    answer_to,
    caller,
    downstream,
    keeping,
    proxy,
    read_answer,
    request,
    status,
)


async def test_bytes_of_target_fields_and_compressed_bodies_pass_both_ways() -> None:
    """Percent-encodings, bytes that are no ASCII, gzip: as they are; repeated fields spelled as the first."""
    sent, returned = gzip.compress(b"up" * 500), gzip.compress(b"down" * 500)
    reply = (
        b"HTTP/1.1 200 OK\r\nX-A: \xfe\r\nx-a: 2\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        % len(returned)
    )
    fields = (b"X-One: \xc3\xa9", b"x-one: 2", b"Content-Encoding: gzip", b"Content-Length: %d" % len(sent))
    async with proxy(reply + returned) as (port, seen):
        head, body = await answer_to(port, request(b"POST /a%2fb%C3%a9/?q=%20+|", *fields, body=sent))
    assert body == returned
    assert b"\r\nX-A: \xfe\r\nx-a: 2\r\nContent-Encoding: gzip\r\n" in head
    forwarded, _, forwarded_body = seen.requests[0].partition(b"\r\n\r\n")
    assert forwarded.startswith(b"POST /a%2fb%C3%a9/?q=%20+| HTTP/1.1\r\n")
    assert b"\r\nX-One: \xc3\xa9\r\nX-One: 2\r\nContent-Encoding: gzip\r\n" in forwarded
    assert forwarded_body == sent


async def test_an_empty_chunked_body_is_framed_once() -> None:
    async with proxy() as (port, seen):
        await answer_to(port, request(b"POST /", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"))
    assert seen.requests[0].lower().count(b"content-length: 0\r\n") == 1
    assert b"transfer-encoding" not in seen.requests[0].lower()


async def test_a_chunked_body_is_sent_on_with_its_length() -> None:
    async with proxy() as (port, seen):
        await answer_to(
            port, request(b"POST /", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        )
    assert seen.requests[0].endswith(b"Content-Length: 5\r\n\r\nabcde")


async def test_a_get_may_have_a_body() -> None:
    async with proxy() as (port, seen):
        await answer_to(port, request(b"GET /", b"Content-Length: 2", body=b"{}"))
    assert seen.requests[0].endswith(b"Content-Length: 2\r\n\r\n{}")


async def test_an_upgrade_is_never_made() -> None:
    async with proxy() as (port, seen):
        head, body = await answer_to(port, request(b"GET /", b"Connection: Upgrade", b"Upgrade: websocket"))
    assert (status(head), body) == (200, b"ok")
    assert b"pgrade" not in seen.requests[0]


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT .evil.test:443",
        b"GET http://evil.example/",
        b"OPTIONS *",
        b"GET //evil.test/",
        b"GET @evil.test/",
        b"TRACE /",
        b"GET /a#b",
    ],
)
async def test_a_target_that_could_name_another_host_is_not_forwarded(line: bytes) -> None:
    async with proxy() as (port, seen):
        head, _ = await answer_to(port, request(line, b"Authorization: Bearer canary"))
    assert status(head) in (400, 405, 421)
    assert (seen.requests, seen.connections) == ([], 0)


async def test_an_absolute_target_for_the_proxy_itself_is_forwarded_as_a_path() -> None:
    async with proxy() as (port, seen):
        await answer_to(port, request(b"GET http://127.0.0.1:%d/a?b" % port))
    assert seen.requests[0].startswith(b"GET /a?b HTTP/1.1\r\nHost: %b\r\n" % seen.address.authority)


async def test_truncation_upstream_is_visible_to_the_caller() -> None:
    """A body that breaks off after its beginning went out ends in a reset, never in a clean end."""
    for framing in (b"Content-Length: 3000000", b"Transfer-Encoding: chunked"):
        body = b"a" * 1_000_000
        if framing.startswith(b"T"):
            body = b"100000\r\n" + body
        reply = Close(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body)
        async with proxy(reply) as (port, _), caller(port) as (reader, writer):
            writer.write(request())
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)


async def test_large_responses_of_any_framing_arrive_whole() -> None:
    body = b"0123456789abcdef" * 100_000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    async with proxy(chunked) as (port, _), caller(port) as (reader, writer):
        writer.write(request())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in head
        got = b""
        while size := int(await reader.readline(), 16):
            got += await reader.readexactly(size)
            await reader.readexactly(2)
        assert got == body
    async with proxy(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as (port, _):
        assert (await answer_to(port, request()))[1] == body


async def test_for_http_1_0_what_has_no_length_ends_with_the_connection() -> None:
    body = b"x" * 500_000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    async with proxy(chunked) as (port, _), caller(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Connection: close" in head
        assert b"ransfer-" not in head
        assert await reader.read(-1) == body


@pytest.mark.parametrize("code", [204, 304])
async def test_answers_without_a_body_have_none(code: int) -> None:
    async def handle(call: Call) -> None:
        await call.respond(code, b"", (), b"not sent", declared=10)

    async with downstream(handle) as proxied, caller(proxied.port) as (reader, writer):
        writer.write(request() + request())
        first = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == first
        assert (b"Content-Length: 10" in first) is (code == 304)


async def test_an_answer_to_head_announces_the_length_and_sends_no_body() -> None:
    async with (
        proxy(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n") as (port, _),
        caller(port) as (reader, writer),
    ):
        for _ in range(2):
            writer.write(request(b"HEAD /"))
            assert b"Content-Length: 10\r\n" in await reader.readuntil(b"\r\n\r\n")


async def test_100_continue_is_sent_when_the_body_is_wanted() -> None:
    async with proxy() as (port, seen), caller(port) as (reader, writer):
        writer.write(request(b"POST /", b"Expect: 100-continue", b"Content-Length: 2"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        assert status((await read_answer(reader))[0]) == 200
    assert seen.requests[0].endswith(b"\r\n\r\nab")
    assert b"xpect" not in seen.requests[0]


async def test_100_continue_is_not_sent_for_a_body_that_is_too_large() -> None:
    seen: list[Body | BodyProblem | None] = []
    async with (
        downstream(keeping(BodyStore(5, 5), seen)) as proxied,
        caller(proxied.port) as (reader, writer),
    ):
        writer.write(request(b"POST /", b"Expect: 100-continue", b"Content-Length: 6"))
        head, _ = await read_answer(reader)
    assert (status(head), seen) == (400, [BodyProblem.TOO_LARGE])
    assert b"Connection: close" in head


async def test_an_answer_of_the_origin_is_never_mixed_up_between_callers() -> None:
    def echo(received: bytes) -> bytes:
        target = received.split(b" ", 2)[1]
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + target

    async with proxy(echo) as (port, _):

        async def many(name: int) -> None:
            async with caller(port) as (reader, writer):
                for number in range(20):
                    writer.write(request(b"GET /%d/%d" % (name, number)))
                    assert (await read_answer(reader))[1] == b"/%d/%d" % (name, number)

        await asyncio.gather(*(many(name) for name in range(30)))
