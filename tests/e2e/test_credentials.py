"""Requests without credentials: Xero can only say 401, so the proxy says it and spends nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.harness import request, sidecar
from tests.sockets import origin

pytestmark = pytest.mark.looptime
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("credentials", [b"Authorization:", b"Authorization: Bearer", b"X-Other: x"])
async def test_without_credentials_nothing_is_sent_and_no_organisation_is_shown(credentials: bytes) -> None:
    async with origin(OK) as seen, sidecar(str(seen.address)) as proxy:
        lines = b"GET /api.xro/2.0/Contacts HTTP/1.1", b"Host: proxy", b"Xero-Tenant-Id: t1", credentials
        reply = await proxy.ask(b"\r\n".join((*lines, b"", b"")))
        assert (reply.status, reply.class_, reply.attempts) == (401, "unauthenticated", 0)
        assert reply.field(b"www-authenticate") == b"Bearer"
        assert reply.problem["Detail"] == "AuthenticationUnsuccessful"
        assert reply.field(b"retry-after") is None
        status = await proxy.status()
        assert (status["tenants"], status["apps"], status["connections_lost"]) == ([], [], [])
        assert [failure["tenant"] for failure in status["failures"]] == [""]
        assert b"t1" not in await proxy.admin("/metrics")
    assert seen.requests == []


async def test_it_is_said_before_the_body_has_come() -> None:
    async with origin(OK) as seen, sidecar(str(seen.address)) as proxy, proxy.caller() as caller:
        head = b"PUT /api.xro/2.0/Contacts HTTP/1.1\r\nHost: proxy\r\nContent-Length: 1000000\r\n\r\n"
        reply = await asyncio.wait_for(caller.ask(head), 1.0)
        assert (reply.status, reply.class_) == (401, "unauthenticated")
    assert seen.requests == []


async def test_an_empty_idempotency_key_is_none_and_the_proxys_own_goes_alone() -> None:
    async with origin(OK) as seen, sidecar(str(seen.address)) as proxy:
        line = b"PUT /api.xro/2.0/Contacts"
        assert (await proxy.ask(request(line, b"Idempotency-Key: ", body=b"{}"))).status == 200
    (sent,) = seen.requests
    keys = [each for each in sent.split(b"\r\n") if each.lower().startswith(b"idempotency-key:")]
    assert [len(key) > len(b"Idempotency-Key: ") for key in keys] == [True]
