"""The end of a sidecar: who is still answered, who is refused, and by when it is over."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.harness import both, put, request

pytestmark = pytest.mark.looptime


async def test_what_is_in_flight_is_finished_and_what_cannot_make_it_is_refused_at_once() -> None:
    settings = {"tenant_minute_limit": 2, "drain_seconds": 30}
    async with both({"latency": (5.0, 5.0)}, **settings) as (proxy, simulator):
        await proxy.ask(request())
        flying = proxy.start(put())
        await proxy.passes(1.0)
        waiting = proxy.start(request(b"GET /", b"Prefer: wait=600"))
        await proxy.passes(1.0)
        began = proxy.clock.now()
        stopping = asyncio.create_task(proxy.stop())
        refused = await waiting
        assert refused.at - began < 0.1
        assert (refused.status, refused.class_, refused.attempts) == (503, "draining", 0)
        assert refused.field(b"connection") == b"close"
        reply = await flying
        assert (reply.status, reply.field(b"connection")) == (200, b"close")
        await stopping
        assert proxy.clock.now() - began < 4.0
        assert simulator.ledger.arrived == 2


async def test_while_draining_it_is_alive_but_not_ready_and_takes_no_connection() -> None:
    async with both({"latency": (5.0, 5.0)}, drain_seconds=30) as (proxy, _), proxy.caller() as idle:
        assert await proxy.admin("/readyz") == b"ready\n"
        flying = proxy.start(request())
        await proxy.passes(1.0)
        stopping = asyncio.create_task(proxy.stop())
        await proxy.passes(0.1)
        assert await proxy.admin("/livez") == b"alive\n"
        assert b"draining" in await proxy.admin("/readyz")
        assert (await proxy.status())["draining"] is True
        assert await idle.reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await proxy.ask(request())
        assert (await flying).status == 200
        await stopping


async def test_a_request_on_a_connection_that_is_busy_can_still_follow_and_is_the_last() -> None:
    async with both({"latency": (5.0, 5.0)}, drain_seconds=30) as (proxy, _), proxy.caller() as caller:
        caller.writer.write(request() + request())
        await proxy.passes(1.0)
        stopping = asyncio.create_task(proxy.stop())
        first = await caller.reply()
        assert (first.status, first.field(b"connection")) == (200, b"close")
        assert await caller.reader.read() == b""
        await stopping


async def test_a_write_that_outlasts_the_drain_is_broken_off_and_its_caller_told_that_nobody_knows() -> None:
    async with both({"latency": (100.0, 100.0)}, drain_seconds=10) as (proxy, simulator):
        flying = proxy.start(put())
        await proxy.passes(1.0)
        began = proxy.clock.now()
        await proxy.stop()
        reply = await flying
        assert 10.0 <= reply.at - began < 10.1
        assert proxy.clock.now() - began < 10.2
        assert (reply.status, reply.class_, reply.attempts) == (502, "outcome_unknown", 1)
        assert (reply.wait, reply.field(b"connection")) == (None, b"close")
        assert simulator.ledger.arrived == 1
    (line,) = proxy.lines()
    assert (line["class"], line["method"], line["attempts"]) == ("outcome_unknown", "PUT", 1)


async def test_a_read_that_outlasts_the_drain_may_be_sent_again_elsewhere() -> None:
    async with both({"latency": (100.0, 100.0)}, drain_seconds=10) as (proxy, simulator):
        flying = proxy.start(request())
        await proxy.passes(1.0)
        await proxy.stop()
        reply = await flying
        assert (reply.status, reply.class_, reply.attempts) == (503, "draining", 1)
        assert simulator.ledger.arrived == 1


async def test_a_delete_that_outlasts_the_drain_is_not_told_that_nothing_was_executed() -> None:
    async with both({"latency": (100.0, 100.0)}, drain_seconds=10) as (proxy, simulator):
        flying = proxy.start(request(b"DELETE /api.xro/2.0/Contacts/1"))
        await proxy.passes(1.0)
        await proxy.stop()
        reply = await flying
        assert (reply.status, reply.class_, reply.attempts) == (503, "draining", 1)
        assert b"may have been executed" in reply.body
        assert simulator.ledger.arrived == 1


async def test_a_body_that_does_not_come_before_the_end_is_answered_and_nothing_is_sent() -> None:
    async with both(None, drain_seconds=10) as (proxy, simulator), proxy.caller() as caller:
        caller.writer.write(put()[:-1])
        await proxy.passes(1.0)
        await proxy.stop()
        reply = await caller.reply()
        assert (reply.status, reply.class_, reply.attempts) == (408, "body_timeout", 0)
        assert simulator.ledger.arrived == 0


async def test_a_caller_that_reads_nothing_cannot_delay_the_end_for_long() -> None:
    async with (
        both(None, drain_seconds=10) as (proxy, simulator),
        proxy.caller() as caller,
    ):
        caller.writer.write(request(b"GET /api.xro/2.0/Contacts?pageSize=1000") * 400)
        assert isinstance(caller.writer.transport, asyncio.Transport)
        caller.writer.transport.pause_reading()
        await proxy.passes(1.0)
        began = proxy.clock.now()
        await proxy.stop()
        assert proxy.clock.now() - began < 11.5
        assert simulator.ledger.arrived > 0


async def test_whoever_waits_in_line_is_answered_before_the_end() -> None:
    options = {"latency": (100.0, 100.0)}
    async with both(options, tenant_concurrent_limit=1, drain_seconds=10) as (proxy, _):
        flying = proxy.start(request())
        await proxy.passes(1.0)
        waiting = proxy.start(request())
        await proxy.passes(1.0)
        await proxy.stop()
        reply = await waiting
        assert (reply.class_, reply.attempts) == ("draining", 0)
        assert (await flying).class_ == "draining"


async def test_whoever_waits_between_two_attempts_is_answered_before_the_end() -> None:
    settings = {"retry_backoff_seconds": 1000, "retry_backoff_max_seconds": 1000, "max_wait_seconds": 3000}
    async with both(None, **settings, drain_seconds=1) as (proxy, simulator):
        simulator.fail_next(1, "reset_before")
        waiting = proxy.start(request())
        await proxy.passes(0.5)
        assert simulator.ledger.arrived == 1
        await proxy.stop()
        reply = await waiting
        assert (reply.status, reply.class_, reply.attempts) == (503, "draining", 1)


@pytest.mark.parametrize(("latency", "ends"), [(5.0, 4.0), (100.0, 10.0)])
async def test_a_write_whose_caller_has_left_is_finished_or_broken_off_in_time_and_recorded(
    latency: float, ends: float
) -> None:
    async with both({"latency": (latency, latency)}, drain_seconds=10) as (proxy, simulator):
        async with proxy.caller() as caller:
            caller.writer.write(put())
            await proxy.passes(1.0)
            caller.leave()
        began = proxy.clock.now()
        await proxy.stop()
        assert proxy.clock.now() - began == pytest.approx(ends, abs=0.1)
        assert simulator.ledger.arrived == 1
    (line,) = proxy.lines()
    assert (line["class"], line["attempts"], line["gone_at"]) == ("caller_left", 1, "upstream")
