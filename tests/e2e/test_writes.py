"""Writes over real sockets: executed once or plainly unknown, with a ledger at Xero's side."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.harness import both, put, request, sidecar
from tests.sockets import Close, origin

pytestmark = pytest.mark.looptime
LOST = Close(b"")
RESULT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KEY = b"idempotency-key: "


def key_of(raw: bytes) -> bytes | None:
    lines = [line for line in raw.lower().split(b"\r\n") if line.startswith(KEY)]
    return lines[0].removeprefix(KEY) if lines else None


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
async def test_an_unkeyed_write_gets_a_key_of_its_own(method: bytes) -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        for _ in range(2):
            await proxy.ask(request(method + b" /api.xro/2.0/Contacts", body=b"{}"))
    one, other = map(key_of, seen.requests)
    assert one is not None
    assert other is not None
    assert one != other
    assert len(one) <= 128


async def test_nothing_else_gets_a_key_and_a_callers_own_is_kept() -> None:
    async with origin(b"HTTP/1.1 204 Done\r\n\r\n") as seen, sidecar(str(seen.address)) as proxy:
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
            await proxy.ask(request(method + b" /api.xro/2.0/Contacts"))
        await proxy.ask(put(b"{}", b"Idempotency-Key: mine"))
        await proxy.ask(put(b"{}", b"idempotency-key:"))
    *others, empty = map(key_of, seen.requests)
    assert others == [None] * 4 + [b"mine"]
    assert empty is not None
    assert empty.startswith(b"xero-proxy-"), "an empty key is none"
    assert [raw.lower().count(b"idempotency-key") for raw in seen.requests[-2:]] == [1, 1]


async def test_a_lost_reply_is_repeated_under_the_key_and_executed_once() -> None:
    async with both() as (proxy, simulator):
        simulator.fail_next(1, "lost_reply")
        reply = await proxy.ask(put())
        assert (reply.status, reply.attempts) == (200, 2)
        assert [entry.executed for entry in simulator.ledger.entries] == [True, False]
        assert [entry.replayed for entry in simulator.ledger.entries] == [False, True]
        assert simulator.ledger.duplicates() == {}


@pytest.mark.parametrize("executed", [True, False])
async def test_a_500_is_not_repeated_under_its_key(executed: bool) -> None:
    async with both() as (proxy, simulator):
        simulator.fail_next(1, "500", executed=executed)
        reply = await proxy.ask(put())
        assert (reply.status, reply.attempts, reply.class_) == (500, 1, "internal_error")
        assert simulator.ledger.arrived == 1


async def test_a_write_that_may_have_been_executed_is_not_repeated_when_its_key_may_be_forgotten() -> None:
    async with both(None, max_wait_seconds=3000) as (proxy, simulator):
        simulator.fail_next(1, "hang", executed=True)
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_, reply.attempts) == (502, "outcome_unknown", 1)
        assert simulator.ledger.arrived == 1


async def test_a_hold_that_outlives_the_key_ends_a_write_that_may_have_been_executed() -> None:
    busy = (
        b"HTTP/1.1 429 Busy\r\nRetry-After: 301\r\nX-Rate-Limit-Problem: minute\r\nContent-Length: 0\r\n\r\n"
    )
    answers = iter((LOST, busy, RESULT))
    async with origin(lambda _raw: next(answers)) as seen, sidecar(str(seen.address)) as proxy:
        began = proxy.clock.now()
        reply = await proxy.ask(put(b"{}", b"Prefer: wait=3000"))
        assert proxy.clock.now() - began < 5
    assert (reply.status, reply.class_, reply.wait) == (502, "outcome_unknown", None)
    assert len(seen.requests) == 2


async def test_a_callers_own_key_ages_from_its_first_use_and_not_from_this_request() -> None:
    answers = iter((LOST, LOST, RESULT, LOST, LOST, RESULT))
    settings = {"retry_backoff_seconds": 30}
    async with origin(lambda _raw: next(answers)) as seen, sidecar(str(seen.address), **settings) as proxy:
        old, new = put(b"{}", b"Idempotency-Key: old"), put(b"{}", b"Idempotency-Key: new")
        early = await proxy.ask(put(b"{}", b"Idempotency-Key: early"))
        assert (early.class_, early.attempts) == ("outcome_unknown", 1), "the process before may have used it"
        await proxy.passes(420)
        began = proxy.clock.now()
        assert (await proxy.ask(old)).attempts == 2
        await proxy.passes(began + 297.0 - proxy.clock.now())
        late = await proxy.ask(old)
        assert (late.class_, late.attempts) == ("outcome_unknown", 1)
        await proxy.passes(4)
        later = await proxy.ask(old)
        assert (later.status, later.class_, later.attempts) == (502, "outcome_unknown", 0)
        assert (await proxy.ask(new)).attempts == 2


async def test_a_callers_key_is_not_first_sent_when_xero_may_have_forgotten_its_first_use() -> None:
    """Used at 2 s, repeated at 242 s for at most 200 s, while the organisation is held until 372 s."""
    async with both() as (proxy, simulator):
        await proxy.passes(2)
        write = put(b'{"Name":"Ada"}', b"Idempotency-Key: mine", b"Prefer: wait=200")
        assert (await proxy.ask(write)).status == 200
        await proxy.passes(70)
        simulator.offline("t1", 299.0)
        held = proxy.start(request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=600"))
        await proxy.passes(170)
        reply = await proxy.ask(write)
        assert (reply.class_, reply.attempts, reply.wait) == ("outcome_unknown", 0, None)
        assert (await held).status == 200
        assert sum(entry.executed for entry in simulator.ledger.entries if entry.method == "PUT") == 1


@pytest.mark.parametrize("target", [b"/practicemanager/3.0/x", b"/practicemanager/3.1/x", b"/new.xro/1.0/x"])
@pytest.mark.parametrize("fields", [(), (b"Idempotency-Key: mine",)], ids=["without", "with"])
async def test_a_write_whose_reply_was_lost_is_sent_once_where_no_keys_are_documented(
    target: bytes, fields: tuple[bytes, ...]
) -> None:
    async with origin(LOST) as seen, sidecar(str(seen.address)) as proxy:
        await proxy.passes(420)
        reply = await proxy.ask(request(b"POST " + target, *fields, body=b"{}"))
        assert (reply.class_, reply.attempts) == ("outcome_unknown", 1)
    assert [key_of(raw) for raw in seen.requests] == [b"mine" if fields else None]


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"PUT"])
async def test_a_408_on_a_kept_connection_is_repeated_where_that_is_safe(method: bytes) -> None:
    late = Close(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    answers = iter((RESULT, late, RESULT, late, RESULT))
    async with origin(lambda _raw: next(answers)) as seen, sidecar(str(seen.address)) as proxy:
        body = b"{}" if method == b"PUT" else None
        replies = [await proxy.ask(request(method + b" /api.xro/2.0/Contacts", body=body)) for _ in range(2)]
        assert [(reply.status, reply.attempts) for reply in replies] == [(200, 1), (200, 2)]
        unkeyed = await proxy.ask(request(b"POST /new.xro/1.0/x", body=b"{}"))
        assert (unkeyed.status, unkeyed.class_, unkeyed.attempts) == (502, "outcome_unknown", 1)


async def test_a_408_on_a_new_connection_is_xeros_word() -> None:
    slow = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    async with origin(Close(slow)) as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(request())
        assert (reply.status, reply.class_, reply.attempts) == (408, "client_error", 1)


async def test_maintenance_is_outlasted_whatever_the_number_of_attempts() -> None:
    gone = b"The Xero API is currently offline for maintenance"
    away = b"HTTP/1.1 503 Gone\r\nContent-Length: %d\r\n\r\n%b" % (len(gone), gone)
    async with origin(lambda _raw: away if proxy.clock.now() < began + 20 else RESULT) as seen:
        settings = {"retry_attempts": 1, "retry_budget": 0}
        async with sidecar(str(seen.address), **settings) as proxy:
            began = proxy.clock.now()
            replies = await asyncio.gather(proxy.ask(put()), proxy.ask(request()))
            assert [reply.status for reply in replies] == [200, 200]
            assert proxy.clock.now() - began >= 20
    assert len(seen.requests) < 20


async def test_a_rejected_write_waits_as_long_as_its_caller_will_and_goes_under_a_new_key() -> None:
    async with both() as (proxy, simulator):
        simulator.offline("t1", 290.0)
        reply = await proxy.ask(put(b'{"Name":"Ada"}', b"Prefer: wait=900"))
        assert (reply.status, reply.attempts) == (200, 2)
        first, second = simulator.ledger.entries
        assert first.key_hash != second.key_hash
        assert second.executed


async def test_the_retry_budget_stops_a_storm() -> None:
    async with both(None, retry_backoff_max_seconds=0.5, tenant_minute_limit=1000) as (proxy, simulator):
        simulator.fail_next(1000, "reset_before")
        replies = []
        for _ in range(40):
            replies.append(await proxy.ask(request()))
            await proxy.passes(1.0)
        assert {reply.status for reply in replies} <= {502, 503}
        assert simulator.ledger.arrived <= 40 + 5 + 0.2 * 40
        assert await proxy.count("retries_suppressed_total", reason="budget") > 0


async def test_many_writes_beside_lost_replies_are_each_executed_once() -> None:
    async with both({"latency": (0.1, 0.5)}, retry_budget=1) as (proxy, simulator):
        simulator.fail_next(5, "lost_reply")
        bodies = [b'{"Name":"n%d"}' % number for number in range(30)]
        replies = await asyncio.gather(*(proxy.ask(put(body)) for body in bodies))
        assert {reply.status for reply in replies} == {200}
        assert sum(simulator.ledger.writes.values()) == 30
        assert simulator.ledger.duplicates() == {}
