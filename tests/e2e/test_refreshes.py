"""Refreshing tokens over real sockets, before an identity host that keeps a ledger of what arrived."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import MARKS, Reply, both, request, sidecar
from tests.faults.origin import Act, misbehaving
from tests.sockets import Close, origin, read_request, serving, until

pytestmark = pytest.mark.looptime
BODY = b'{"access_token":"n3w","refresh_token":"next","expires_in":1800,"token_type":"Bearer"}'
TOKENS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Odd:  kept \r\nContent-Length: %d\r\n\r\n%b"
    % (
        len(BODY),
        BODY,
    )
)
REFUSED = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 25\r\n\r\n{"error":"invalid_grant"}'


def refresh(which: bytes = b"0ld", *fields: bytes) -> bytes:
    return request(
        b"POST /connect/token",
        b"Authorization: Basic " + b64encode(b"app-1:s3cret"),
        b"Content-Type: application/x-www-form-urlencoded",
        *fields,
        body=b"grant_type=refresh_token&refresh_token=" + which,
    )


def in_turn(*answers: bytes) -> Callable[[bytes], bytes]:
    """Each answer once, then the last one for ever."""
    left = list(answers)
    return lambda _request: left.pop(0) if len(left) > 1 else left[0]


def unmarked(reply: Reply) -> tuple[object, ...]:
    """All that came from the identity host."""
    headers = tuple(field for field in reply.headers if field[0].lower() not in MARKS)
    return reply.status, reply.reason, headers, reply.body


async def test_a_thousand_refreshes_at_once_are_one_call_whose_answer_all_get() -> None:
    answers_when_all_have_asked = Act(TOKENS, after=1.0)
    async with misbehaving(answers_when_all_have_asked) as seen, sidecar(str(seen.address)) as proxy:
        replies = await asyncio.gather(*(proxy.ask(refresh()) for _ in range(1000)))
        assert len(seen.requests) == 1
        assert len({unmarked(reply) for reply in replies}) == 1
        assert (b"X-Odd", b" kept ") in replies[0].headers or replies[0].field(b"x-odd") == b"kept"
        assert replies[0].body == BODY
        assert sorted(reply.attempts for reply in replies) == [0] * 999 + [1]
        assert await proxy.count("attempts_total", api="token") == 1
        assert await proxy.count("token_answers_total") == 1000


async def test_every_token_is_one_call() -> None:
    async with origin(TOKENS) as seen, sidecar(str(seen.address)) as proxy:
        await asyncio.gather(*(proxy.ask(refresh(b"%d" % (number % 50))) for number in range(500)))
    assert len(seen.requests) == 50


async def test_the_answer_to_a_caller_that_left_is_kept_for_the_next() -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            arrived.append(await read_request(reader))
            await proxy.passes(2.0)
            writer.write(TOKENS)

    arrived: list[bytes] = []
    async with serving(slowly) as address, sidecar(str(address)) as proxy:
        async with proxy.caller() as caller:
            caller.writer.write(refresh())
            await until(lambda: arrived)
            caller.leave()
        await proxy.passes(5.0)
        reply = await proxy.ask(refresh())
        assert (reply.body, reply.attempts, reply.field(b"age")) == (BODY, 0, b"3")
        assert len(arrived) == 1
    assert [line["gone_at"] for line in proxy.lines()] == ["upstream", ""]
    assert [line["app"] for line in proxy.lines()] == ["app-1", "app-1"]


async def test_a_drain_ends_with_the_answer_for_all() -> None:
    async with both({"latency": (0.5, 0.5)}) as (proxy, identity):
        asked = [proxy.start(refresh()) for _ in range(20)]
        await until(lambda: identity.ledger.arrived)
        await proxy.stop()
        assert {(await reply).status for reply in asked} == {200}
        assert identity.ledger.arrived == 1


@pytest.mark.parametrize("broken", [Close(b""), Close(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{")])
async def test_a_lost_reply_is_told_to_all_that_waited_and_the_next_one_may_try(broken: bytes) -> None:
    async with origin(in_turn(broken, TOKENS)) as seen, sidecar(str(seen.address)) as proxy:
        replies = await asyncio.gather(*(proxy.ask(refresh()) for _ in range(20)))
        assert {(reply.status, reply.class_, reply.wait) for reply in replies} == {
            (502, "outcome_unknown", None)
        }
        assert len(seen.requests) == 1
        assert (await proxy.ask(refresh())).body == BODY


async def test_an_identity_host_that_hangs_is_asked_anew_after_its_time() -> None:
    async with both({"latency": (60.0, 60.0)}, upstream_timeout_seconds=30) as (proxy, identity):
        replies = await asyncio.gather(*(proxy.ask(refresh()) for _ in range(5)))
        assert {(reply.status, reply.class_) for reply in replies} == {(504, "outcome_unknown")}
        assert identity.ledger.arrived == 1
        await proxy.ask(refresh())
        assert identity.ledger.arrived == 2


async def test_a_refused_refresh_token_is_a_lost_connection_until_the_client_refreshes() -> None:
    async with origin(in_turn(REFUSED, TOKENS)) as seen, sidecar(str(seen.address)) as proxy:
        replies = await asyncio.gather(*(proxy.ask(refresh()) for _ in range(10)))
        assert {unmarked(reply)[::3] for reply in replies} == {(400, b'{"error":"invalid_grant"}')}
        assert len(seen.requests) == 1
        (shown,) = (await proxy.status())["connections_lost"]
        assert (shown["app"], shown["tenant"], shown["state"]) == ("app-1", "", "connection lost")
        assert shown["reason"] == "invalid_grant"
        assert await proxy.count("connections_lost", reason="invalid_grant", tenant="*") == 1
        assert (await proxy.ask(refresh(b"an0ther"))).status == 200
        assert (await proxy.status())["connections_lost"] == []
        assert await proxy.count("connections_lost") == 0
    told = [(line["action"], line["app"], line["reason"]) for line in proxy.lines("connection")]
    assert told == [("lost", "app-1", "invalid_grant"), ("restored", "app-1", "invalid_grant")]
    assert "0ld" not in proxy.text()


async def test_an_organisation_that_was_disconnected_is_shown_and_its_requests_still_pass() -> None:
    gone = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 39\r\n\r\n{"Detail":"AuthenticationUnsuccessful"}'
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with origin(in_turn(gone, gone, ok)) as seen, sidecar(str(seen.address)) as proxy:
        for count in (1, 2):
            assert (await proxy.ask(request())).status == 401
            (shown,) = (await proxy.status())["connections_lost"]
            assert (shown["tenant"], shown["state"], shown["reason"]) == (
                "t1",
                "unauthorised",
                "unauthorised",
            )
            assert await proxy.count("connections_lost", tenant="t1") == 1
            assert len(seen.requests) == count
        assert (await proxy.ask(request())).status == 200
        assert (await proxy.status())["connections_lost"] == []
    assert [line["action"] for line in proxy.lines("connection")] == ["lost", "restored"]


async def test_an_expired_token_is_answered_like_xero_does_and_its_replacement_passes() -> None:
    expired, fresh = b"Authorization: Bearer old", b"Authorization: Bearer new"
    read = b"GET /api.xro/2.0/Contacts"
    async with both() as (proxy, simulator):
        assert (await proxy.ask(request(read, expired))).status == 200
        simulator.expire_tokens()
        xeros = await proxy.ask(request(read, expired))
        ours = await proxy.ask(request(read, expired))
        assert (xeros.class_, ours.class_) == ("token_expired", "refused_expired")
        assert xeros.field(b"www-authenticate") == ours.field(b"www-authenticate")
        assert list(xeros.problem) == list(ours.problem)
        assert {**xeros.problem, "Detail": "", "Instance": ""} == {
            **ours.problem,
            "Detail": "",
            "Instance": "",
        }
        assert (await proxy.ask(request(read, fresh))).status == 200
        assert simulator.ledger.arrived == 3
        assert (await proxy.status())["connections_lost"] == []


async def test_switched_off_every_refresh_is_a_call() -> None:
    async with (
        origin(TOKENS) as seen,
        sidecar(str(seen.address), token_single_flight="false") as proxy,
    ):
        for reply in await asyncio.gather(*(proxy.ask(refresh()) for _ in range(10))):
            assert (reply.body, reply.attempts) == (BODY, 1)
    assert len(seen.requests) == 10


async def test_a_request_for_tokens_is_never_on_disk(tmp_path: Path) -> None:
    nowhere = tmp_path / "full"
    nowhere.mkdir()
    async with (
        origin(TOKENS) as seen,
        sidecar(str(seen.address), body_memory_bytes=0, spool_dir=nowhere) as proxy,
    ):
        nowhere.rmdir()
        assert (await proxy.ask(request(b"PUT /", body=b"x"))).class_ == "spool_full"
        assert (await proxy.ask(refresh())).status == 200
        large = await proxy.ask(refresh(b"x" * 20_000))
        assert (large.status, large.class_) == (413, "body_too_large")
    assert len(seen.requests) == 1


async def test_what_is_not_understood_is_sent_as_it_came() -> None:
    async with origin(TOKENS) as seen, sidecar(str(seen.address)) as proxy:
        odd = request(b"POST /connect/token", b"Content-Type: application/json", body=b"{}")
        for _ in range(2):
            assert (await proxy.ask(odd)).attempts == 1
        revoked = request(b"POST /connect/revocation", body=b"token=x")
        assert (await proxy.ask(revoked)).attempts == 1
    assert [sent.partition(b"\r\n\r\n")[2] for sent in seen.requests] == [b"{}", b"{}", b"token=x"]
