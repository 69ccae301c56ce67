"""A caller's connection: requests one after the other, and what is refused."""

from __future__ import annotations

import logging

import pytest

from proxy.clock import Clock
from proxy.http.body import Body, BodyProblem, BodyStore
from tests.sockets import (
    caller,
    downstream,
    keeping,
    ok,
    proxy,
    read_answer,
    request,
    status,
    until,
)


async def test_requests_follow_each_other_and_may_be_pipelined() -> None:
    async with downstream(ok) as proxied, caller(proxied.port) as (reader, writer):
        writer.write(b"".join(request(b"GET /%d" % number) for number in range(300)) + b"\r\n")
        for number in range(300):
            head, body = await read_answer(reader)
            assert b"X-Target: /%d\r\n" % number in head
            assert body == b"GET"
        writer.write(request(b"DELETE /"))
        assert (await read_answer(reader))[1] == b"DELETE"


async def test_a_request_may_arrive_byte_by_byte() -> None:
    async with downstream(ok) as proxied, caller(proxied.port) as (reader, writer):
        for byte in b"\r\n" + request(b"GET /slow"):
            writer.write(bytes([byte]))
            await Clock().sleep_until(0)
        assert status((await read_answer(reader))[0]) == 200


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET http://proxy:8080/ HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", False),
    ],
)
async def test_a_connection_is_kept_as_its_version_and_options_say(head: bytes, kept: bool) -> None:
    async with downstream(ok) as proxied, caller(proxied.port) as (reader, writer):
        writer.write(head)
        answer, _ = await read_answer(reader)
        assert (b"Connection: close" in answer) is not kept
        if kept:
            writer.write(head)
            assert status((await read_answer(reader))[0]) == 200
        else:
            assert await reader.read() == b""


async def test_an_answer_before_the_body_was_read_closes_the_connection_and_does_not_hang() -> None:
    async with downstream(ok) as proxied, caller(proxied.port) as (reader, writer):
        writer.write(request(b"POST /", b"Content-Length: 1000000", body=b"x" * 1000))
        head, _ = await read_answer(reader)
        assert b"Connection: close" in head
        assert await reader.read() == b""


async def test_bodies_end_where_they_say_and_what_follows_is_the_next_request() -> None:
    seen: list[Body | BodyProblem | None] = []
    async with (
        downstream(keeping(BodyStore(100, 100), seen)) as proxied,
        caller(proxied.port) as (reader, writer),
    ):
        writer.write(
            request(b"POST /", b"Content-Length: 3", body=b"abc")
            + request(b"POST /", b"Transfer-Encoding: chunked", body=b"2\r\nde\r\n0\r\n\r\n")
            + request(b"GET /")
        )
        for _ in range(3):
            assert status((await read_answer(reader))[0]) == 200
    assert [body.in_memory for body in seen if isinstance(body, Body)] == [b"abc", b"de"]
    assert seen[2] is None


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"\x16\x03\x01\x02\x00\x01\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer canary\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\x00canary\r\n\r\n",
        request(b"POST /", b"Content-Length: 1", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        request(b"GET /", b"Connection: Authorization", b"Authorization: canary"),
        request(b"GET /", b"Connection: close") + request(b"GET /smuggled"),
        request(b"GET /") + b"canary\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000,
    ],
)
async def test_malformed_requests_are_refused_without_being_quoted_anywhere(
    raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with proxy() as (port, seen), caller(port) as (reader, writer):
        writer.write(raw)
        answers = await reader.read()
    last = answers[answers.rindex(b"HTTP/1.1 4") :]
    assert status(last) in (400, 431)
    assert b"Connection: close" in last
    assert b"canary" not in answers
    assert "canary" not in caplog.text
    assert not any(b"smuggled" in request for request in seen.requests)


BAD_HEADS = [
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"HEAD //x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD / HTTP/3.0\r\nHost: x\r\n\r\n",
    b"HEAD / nonsense\r\n\r\n",
    b"HEAD / HTTP/1.1\nHost: x\n\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nExpect: b\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: b\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET",
    b"HEAD /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000,
    b"HEAD / HTTP/1.1\r\nHost: x\r\n",  # and no more
]


@pytest.mark.looptime
@pytest.mark.parametrize("raw", BAD_HEADS)
async def test_no_answer_to_head_has_a_body_whatever_is_wrong_with_it(raw: bytes) -> None:
    async with downstream(ok) as proxied:
        for lead in (b"", b"\r\n"):
            async with caller(proxied.port) as (reader, writer):
                writer.write(lead + raw)
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
                assert 400 <= status(head) <= 505
                assert b"\r\nContent-Length: 0\r\n" not in head
                assert body == b""
        async with caller(proxied.port) as (reader, writer):  # and each other answer has its own
            writer.write(raw.replace(b"HEAD", b"GET") + b"\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.read()).partition(b"\r\n\r\n")[2] != b""


@pytest.mark.parametrize("method", [b"patch", b"Get", b"head", b"PROPFIND", b"x!"])
async def test_methods_are_told_apart_by_case(method: bytes) -> None:
    async with downstream(ok) as proxied, caller(proxied.port) as (reader, writer):
        writer.write(request(method + b" /"))
        assert status((await read_answer(reader))[0]) == 405


async def test_what_was_read_of_requests_is_kept_no_longer_than_some_caller_is_connected() -> None:
    async with downstream(ok) as proxied:
        shared = proxied.downstream
        async with caller(proxied.port) as (reader, writer):
            writer.write(request(b"GET /"))
            await read_answer(reader)
            assert shared.lines.blocks
        await until(lambda: not shared.callers)
        assert not shared.lines.blocks
