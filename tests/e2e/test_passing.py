"""What passes through, and what is added: the contract of the callers' port."""

from __future__ import annotations

import re

import pytest

from proxy.request.access import EXPIRED_SECONDS
from tests.e2e.harness import MARKS, TOKEN, both, request, sidecar
from tests.sockets import origin

GZIP = bytes.fromhex("1f8b08000000000000ff4bcbcf4f4a2c02009e8d1ef306000000")


async def test_status_reason_headers_and_body_come_back_byte_for_byte() -> None:
    sent = (
        b"HTTP/1.1 207 Multi-Odd Status\r\nX-Odd: a  b\r\nx-odd: \xe9\xff\r\nSet-Cookie: a=1\r\n"
        b"set-cookie: b=2\r\nContent-Encoding: gzip\r\nServer: nginx\r\nContent-Length: %d\r\n\r\n"
        % len(GZIP)
    )
    async with origin(sent + GZIP) as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(request())
    expected = sent.split(b"\r\n")[1:-3]
    assert (reply.status, reply.reason, reply.body) == (207, b"Multi-Odd Status", GZIP)
    assert [name + b": " + value for name, value in reply.headers][: len(expected)] == expected
    assert [name.lower() for name, _ in reply.headers[len(expected) :]] == [*MARKS, b"content-length"]


async def test_method_target_headers_and_body_go_to_xero_unchanged() -> None:
    target = b"/api.xro/2.0/Contacts/%7B%7d;a?where=Name%3D%22x%22&&b=%zz"
    fields = (
        b"accept: */*",
        b"X-Odd: \xc3\xa9",
        b"Cookie: a=1",
        b"If-Modified-Since: x",
        b"xero-tenant-id: T-1",
    )
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        await proxy.ask(
            request(
                b"GET " + target,
                *fields,
                b"Prefer: wait=9",
                b"Priority: u=1",
                b"Proxy-Authorization: x",
                body=b"{}",
            )
        )
        head, _, body = seen.requests[0].partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
    assert lines[0] == b"GET " + target + b" HTTP/1.1"
    host = b"Host: " + seen.address.authority
    assert lines[1:] == [
        host,
        b"Authorization: " + TOKEN,
        *fields,
        b"Content-Length: 2",
    ]
    assert body == b"{}"


@pytest.mark.parametrize(("setting", "added"), [("false", []), ("true", [b"Via: 1.1 xero-proxy"])])
async def test_xero_gets_a_via_only_where_the_setting_says_so(setting: str, added: list[bytes]) -> None:
    async with origin() as seen, sidecar(str(seen.address), via=setting) as proxy:
        await proxy.ask(request(b"GET /", b"Via: 1.0 theirs"))
    vias = [line for line in seen.requests[0].split(b"\r\n") if line.lower().startswith(b"via:")]
    assert vias == [b"Via: 1.0 theirs", *added]


async def test_every_kind_of_answer_carries_the_marks_once() -> None:
    forged = (
        b"HTTP/1.1 200 OK\r\nProxy-Status: evil\r\nX-Xero-Proxy-Class: evil\r\nX-Xero-Proxy-Other: evil\r\n"
    )
    asked = (
        (request(), 200, "success", 1),
        (request(b"GET /api.xro/2.0/Contacts", b"Xero-Tenant-Id: a\x80b"), 400, "tenant_invalid", 0),
        (request(b"TRACE /"), 405, "method_not_allowed", 0),
        (request(b"CONNECT /"), 405, "method_not_allowed", 0),
        (request(b"PROPFIND /"), 405, "method_not_allowed", 0),
        (request(b"M-SEARCH /"), 405, "method_not_allowed", 0),
        (request(b"FOO /"), 405, "method_not_allowed", 0),
        (request(b"GET http://evil.example/"), 421, "misdirected", 0),
        (request(b"GET /", b"Host: a b"), 400, "invalid_request", 0),
        (request(b"POST /", b"Content-Length: 99999999999"), 413, "body_too_large", 0),
        (request(b"OPTIONS *"), 400, "invalid_request", 0),
        (request(b"GET /", b"If-Match: \xe9", b"Authorization: " + TOKEN), 400, "invalid_request", 0),
    )
    async with origin(forged + b"Content-Length: 2\r\n\r\nok") as seen, sidecar(str(seen.address)) as proxy:
        for raw, status, name, sends in asked:
            reply = await proxy.ask(raw)
            assert (reply.status, reply.class_, reply.attempts) == (status, name, sends)
            assert sorted(reply.marks) == sorted(MARKS)
            assert b"evil" not in b"".join(value for _, value in reply.headers) + reply.body
            said = reply.field(b"proxy-status") or b""
            assert said.startswith(b"xero-proxy; ")
            assert (b"received-status=" in said, b"error=" in said) == (sends > 0, sends == 0)
            timing = reply.field(b"server-timing") or b""
            assert re.fullmatch(rb'queue;dur=[\d.]+(;desc="\w+")?, upstream;dur=[\d.]+', timing)
    assert len(seen.requests) == 1


async def test_an_answer_of_the_proxys_own_has_the_members_of_rfc_9457_and_xeros() -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        plain = await proxy.ask(request(b"POST /", b"Content-Length: 99999999999"))
        asked = await proxy.ask(
            request(b"POST /", b"Accept: application/problem+json", b"Content-Length: 99999999999")
        )
    assert plain.field(b"content-type") == b"application/json"
    assert asked.field(b"content-type") == b"application/problem+json"
    names = {"type", "title", "status", "detail", "instance", "Type", "ErrorNumber", "Title", "Status"}
    assert plain.problem.keys() == names | {"Detail", "Message", "Elements"}
    assert plain.problem["Elements"] == []


async def test_head_no_content_and_not_modified_have_no_body() -> None:
    answers = {
        b"HEAD": b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
        b"DELETE": b"HTTP/1.1 204 No Content\r\n\r\n",
        b"GET": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
    }
    async with (
        origin(lambda raw: answers[raw.split(b" ")[0]]) as seen,
        sidecar(str(seen.address)) as proxy,
        proxy.caller() as caller,
    ):
        for method, length in ((b"HEAD", b"77"), (b"DELETE", None), (b"GET", b"12"), (b"HEAD", b"77")):
            reply = await caller.ask(request(method + b" /api.xro/2.0/Contacts"))
            assert (reply.field(b"content-length"), reply.body) == (length, b"")


async def test_an_answer_of_the_proxys_own_to_head_has_a_length_and_no_body() -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy, proxy.caller() as caller:
        bad = b"Xero-Tenant-Id: a\x80b"
        reply = await caller.ask(request(b"HEAD /api.xro/2.0/Contacts", bad))
        assert (reply.status, reply.body) == (400, b"")
        assert int(reply.field(b"content-length") or b"0") > 100
        assert (await caller.ask(request())).status == 200


async def test_a_request_that_is_refused_is_not_asked_for_its_body() -> None:
    async with origin() as seen, sidecar(str(seen.address), tenant_minute_limit=1) as proxy:
        assert (await proxy.ask(request())).status == 200
        expecting = request(b"POST /", b"Expect: 100-continue", b"Content-Length: 4", b"Prefer: wait=1")
        assert (await proxy.ask(expecting)).class_ == "refused_minute"
    assert len(seen.requests) == 1


async def test_a_body_is_asked_for_with_100_and_one_that_is_too_large_is_refused_instead() -> None:
    expecting = b"Expect: 100-continue"
    async with origin() as seen, sidecar(str(seen.address), max_body_bytes=10) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(request(b"POST /", expecting, b"Content-Length: 4"))
            assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await caller.ask(b"body")).status == 200
        assert (await proxy.ask(request(b"POST /", expecting, b"Content-Length: 11"))).status == 413
        chunked = request(b"POST /", b"Transfer-Encoding: chunked") + b"b\r\n01234567890\r\n"
        assert (await proxy.ask(chunked)).status == 413
    assert len(seen.requests) == 1
    assert b"expect" not in seen.requests[0].lower()


@pytest.mark.looptime
async def test_a_401_is_passed_on_and_never_held() -> None:
    async with both() as (proxy, simulator):
        assert (await proxy.ask(request())).status == 200
        simulator.expire_tokens()
        for _ in range(8):
            reply = await proxy.ask(request())
            assert (reply.status, reply.class_, reply.attempts) == (401, "token_expired", 1)
            assert (await proxy.ask(request())).class_ == "refused_expired"
            await proxy.passes(EXPIRED_SECONDS)
        other = request(b"GET /api.xro/2.0/Contacts", b"Authorization: Bearer fresh")
        assert (await proxy.ask(other)).status == 200
        assert (await proxy.status())["holds"] == []


async def test_a_refused_method_is_told_which_are_allowed() -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(request(b"TRACE /"))
    assert (reply.status, reply.field(b"allow")) == (405, b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
