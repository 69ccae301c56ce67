"""Canaries in everything that a caller sends, through every kind of trouble: none comes out anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64encode

import pytest

from tests.e2e.harness import both, request, sidecar
from tests.sockets import Close, origin

pytestmark = pytest.mark.looptime
CANARY = b"c4n4ry"
FIELDS = (
    b"Authorization: Bearer c4n4ry-token",
    b"Cookie: session=c4n4ry-cookie",
    b"Idempotency-Key: c4n4ry-key",
)
BODY = b'{"Name":"c4n4ry-body"}'
TARGET = b"/api.xro/2.0/Contacts/c4n4ry-id?where=c4n4ry-query"
REFRESH = request(
    b"POST /connect/token",
    b"Authorization: Basic " + b64encode(b"app:c4n4ry-secret"),
    b"Content-Type: application/x-www-form-urlencoded",
    body=b"grant_type=refresh_token&refresh_token=c4n4ry-refresh&scope=c4n4ry-scope",
)

REQUESTS = (
    request(b"GET " + TARGET, *FIELDS),
    request(b"PUT " + TARGET, *FIELDS, body=BODY),
    request(b"POST " + TARGET, *FIELDS, body=BODY),
    request(b"GET " + TARGET, *FIELDS, b"Prefer: wait=0"),
    request(b"GET " + TARGET, *FIELDS, b"Xero-Tenant-Id: c4n4ry\x80tenant"),
    request(b"GET " + TARGET, *FIELDS, b"Xero-Tenant-Id: " + CANARY * 30),
    request(b"GET http://c4n4ry.test" + TARGET, *FIELDS),
    request(b"GET c4n4ry-target", *FIELDS),
    request(b"GET " + TARGET, *FIELDS, b"Host: c4n4ry host"),
    request(b"C4N4RY " + TARGET, *FIELDS),
    request(b"c4n4ry " + TARGET, *FIELDS),
    request(b"POST " + TARGET, *FIELDS, b"Content-Length: 99999999999"),
    request(b"POST " + TARGET, *FIELDS, b"Content-Length: 3", b"Content-Length: c4n4ry"),
    request(b"POST " + TARGET, *FIELDS, b"Transfer-Encoding: chunked") + b"c4n4ry\r\n",
    request(b"POST " + TARGET, *FIELDS, b"Transfer-Encoding: c4n4ry"),
    request(b"POST " + TARGET, *FIELDS, b"Expect: c4n4ry"),
    request(b"POST " + TARGET, *FIELDS, b"Connection: Authorization, c4n4ry"),
    request(b"GET " + TARGET, b"c4n4ry broken field"),
    request(b"GET " + TARGET, b"Authorization : Bearer c4n4ry"),
    request(b"GET " + TARGET, b"Authorization: Bearer c4n4ry", b"Authorization: Bearer c4n4ry2"),
    request(b"POST /connect/token", *FIELDS, body=b"refresh_token=c4n4ry"),
    REFRESH,
    REFRESH,
    request(b"GET /connections?c4n4ry", *FIELDS),
    b"c4n4ry\r\n\r\n",
    b"\x16\x03\x01c4n4ry\r\n\r\n",
)
XEROS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{"access_token":"c4n4ry"}',
    b'HTTP/1.1 400 Oh\r\nContent-Length: 36\r\n\r\n{"error":"invalid_grant","c4n4ry":1}',
    b'HTTP/1.1 401 Oh\r\nContent-Length: 32\r\n\r\n{"Detail":"TokenExpired c4n4ry"}',
    b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 502 Oh\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 Oh\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Oh\r\nRetry-After: 9999\r\nX-Rate-Limit-Problem: day\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Oh\r\nContent-Length: 27\r\n\r\nThe Organisation is offline",
    b"c4n4ry garbage\r\n\r\n",
    b"HTTP/1.1 200 c4n4ry\r\nc4n4ry\r\n\r\n",
    Close(b""),
    Close(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut"),
)


@pytest.mark.parametrize("answer", XEROS)
async def test_no_secret_comes_out_of_the_proxy_itself(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    async with origin(answer) as seen, sidecar(str(seen.address), max_wait_seconds=5) as proxy:
        for raw in REQUESTS:
            reply = await proxy.ask(raw)
            if b"error=" in (reply.field(b"proxy-status") or b""):
                told.append(reply.body)
                told += [name + value for name, value in reply.headers]
        for path in ("/", "/status", "/metrics", "/readyz"):
            told.append(await proxy.admin(path))
        text = proxy.text()
    assert len(told) > 20
    assert CANARY not in b"".join(told).lower()
    assert CANARY.decode() not in text.lower()
    assert CANARY.decode() not in caplog.text.lower()
    assert text.count('"request"') == len(REQUESTS)


async def test_nor_from_callers_that_leave_or_stall(caplog: pytest.LogCaptureFixture) -> None:
    async with both({"latency": (2.0, 2.0)}) as (proxy, _):
        for raw in REQUESTS[:3]:
            for cut in (len(raw), len(raw) - 5, 60):
                async with proxy.caller() as caller:
                    caller.writer.write(raw[:cut])
                    await proxy.passes(1.0)
                    caller.leave()
        async with proxy.caller() as slow:
            slow.writer.write(REQUESTS[1][:-5])
            assert (await slow.reply()).status == 408
        async with proxy.caller() as slow:
            slow.writer.write(REQUESTS[1][:90])
            assert (await slow.reply()).status == 408
        with contextlib.suppress(asyncio.TimeoutError):
            await proxy.passes(10.0)
        told = [await proxy.admin(path) for path in ("/", "/status", "/metrics")]
    assert CANARY not in b"".join(told).lower()
    assert CANARY.decode() not in proxy.text().lower() + caplog.text.lower()
