"""What the log, the header and the metrics say of the same requests, over real sockets in virtual time."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.e2e.harness import both, put, request, sidecar

pytestmark = pytest.mark.looptime


async def test_what_was_never_sent_has_attempts_and_no_send_everywhere() -> None:
    with socket.socket() as held:  # nobody else can listen there, and it does not
        held.bind(("127.0.0.1", 0))
        async with sidecar(f"http://127.0.0.1:{held.getsockname()[1]}") as proxy:
            reply = await proxy.ask(request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=2"))
            assert (reply.status, reply.attempts) == (502, 0)
            attempts = await proxy.count("attempts_total", **{"class": "connect_failed"})
            assert await proxy.count("sends_total") == 0
    (line,) = proxy.lines()
    assert (line["level"], line["sends"]) == ("warning", 0)
    assert line["attempts"] == attempts > 1


async def test_what_was_sent_again_has_as_many_sends_everywhere() -> None:
    async with both({}) as (proxy, simulator):
        simulator.fail_next(2, "502")
        reply = await proxy.ask(put())
        assert (reply.status, reply.attempts) == (200, 3)
        assert await proxy.count("sends_total", api="accounting") == 3
        assert await proxy.count("attempts_total", api="accounting") == 3
    (line,) = proxy.lines()
    assert (line["level"], line["attempts"], line["sends"]) == ("info", 3, 3)


async def test_what_is_broken_off_at_the_end_counts_as_sent_in_the_log_and_the_metrics() -> None:
    async with both({"latency": (60.0, 60.0)}, drain_seconds=1) as (proxy, _):
        flying = proxy.start(put())
        await proxy.passes(0.5)
        await proxy.stop()
        assert (await flying).attempts == 1
    (line,) = proxy.lines()
    assert (line["level"], line["attempts"], line["sends"]) == ("warning", 1, 1)


async def test_a_limit_that_is_spent_is_a_line_and_so_is_that_it_has_room_again() -> None:
    options = {"minute_limit": 3}
    async with both(options, tenant_minute_limit=3) as (proxy, _):
        await asyncio.gather(*(proxy.ask(request()) for _ in range(9)))
        await proxy.passes(120.0)
    lines = proxy.lines("limit")
    assert [(line["action"], line["limit"], line["tenant"]) for line in lines] == [
        ("spent", "minute", "t1"),
        ("room", "minute", "t1"),
    ]
    assert {line["level"] for line in lines} == {"warning"}
