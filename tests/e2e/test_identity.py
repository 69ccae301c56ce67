"""The identity host: no limits, no keys, nothing repeated."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.harness import request, sidecar, xero
from tests.sockets import Close, origin

pytestmark = pytest.mark.looptime


def refresh(which: int = 0) -> bytes:
    """A refresh of one of many tokens."""
    return request(
        b"POST /connect/token",
        b"Authorization: Basic YTpi",
        b"Content-Type: application/x-www-form-urlencoded",
        body=b"grant_type=refresh_token&refresh_token=old%d" % which,
    )


async def test_tokens_go_to_the_identity_host_without_limit_or_key() -> None:
    async with (
        origin() as api,
        xero() as identity,
        sidecar(
            str(api.address),
            identity_upstream=identity.url,
            tenant_minute_limit=1,
            app_minute_limit=1,
            max_wait_seconds=1,
        ) as proxy,
    ):
        for which in range(5):
            reply = await proxy.ask(refresh(which))
            assert (reply.status, reply.class_) == (200, "success")
        known = await proxy.ask(request(b"GET /.well-known/openid-configuration"))
        assert known.status == 200
        assert identity.ledger.arrived == 6
        assert {entry.key_hash for entry in identity.ledger.entries} == {""}
        assert api.requests == []
        assert (await proxy.ask(request())).status == 200


async def test_a_token_request_whose_answer_is_lost_is_never_repeated() -> None:
    async with origin(Close(b"")) as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(refresh())
    assert (reply.status, reply.class_, reply.wait) == (502, "outcome_unknown", None)
    assert len(seen.requests) == 1
    assert b"idempotency-key" not in seen.requests[0].lower()


async def test_one_that_never_left_is_sent_again() -> None:
    async with origin() as seen:
        closed = seen.address
    async with sidecar(str(closed)) as proxy:
        reply = await proxy.ask(refresh())
    assert (reply.status, reply.class_, reply.attempts) == (502, "connect_failed", 0)


async def test_a_slow_identity_host_stops_nobody() -> None:
    async with (
        xero(latency=(60.0, 60.0)) as slow,
        xero() as api,
        sidecar(api.url, identity_upstream=slow.url) as proxy,
    ):
        waiting = [proxy.start(refresh(which)) for which in range(8)]
        await proxy.passes(1.0)
        assert (await proxy.ask(request())).status == 200
        assert slow.ledger.arrived == 8
        assert {reply.status for reply in await asyncio.gather(*waiting)} == {200}
