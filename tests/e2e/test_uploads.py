"""Uploads against their deadline, over real sockets, in virtual time: slow ones end, and stop nobody else."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.harness import Caller, Reply, Running, both, request

pytestmark = pytest.mark.looptime
HEAD = request(b"PUT /api.xro/2.0/Contacts", b"Content-Length: 1000", b"Prefer: wait=1")


async def drip(proxy: Running, caller: Caller) -> tuple[Reply, float]:
    """Upload a byte every few tenths of a second; the answer, and how long it took."""
    began = proxy.clock.now()
    caller.writer.write(HEAD)
    answer = asyncio.create_task(caller.reply())
    while not answer.done():
        caller.writer.write(b"x")
        await asyncio.wait([answer], timeout=0.3)
    return answer.result(), answer.result().at - began


async def test_uploads_that_drip_end_at_their_deadline_and_take_no_room_in_the_line() -> None:
    async with both(queue_limit=10, queue_limit_total=20) as (proxy, simulator):

        async def upload() -> tuple[Reply, float]:
            async with proxy.caller() as caller:
                return await drip(proxy, caller)

        uploads = [asyncio.create_task(upload()) for _ in range(200)]
        await proxy.passes(0.5)
        others = await asyncio.gather(*(proxy.ask(request()) for _ in range(8)))
        assert {reply.status for reply in others} == {200}
        ended = await asyncio.gather(*uploads)
        assert {(reply.status, reply.class_, reply.attempts) for reply, _ in ended} == {
            (503, "refused_deadline", 0)
        }
        assert all(seconds == pytest.approx(1.0, abs=0.1) for _, seconds in ended)
        assert "did not arrive" in ended[0][0].problem["detail"]
        assert await proxy.count("shed_total", reason="queue_full") == 0
        assert simulator.peak_rolling("t1") == 8


async def test_whoever_wants_no_wait_is_sent_at_once_when_its_body_comes_with_it() -> None:
    async with both() as (proxy, _), proxy.caller() as caller:
        caller.writer.write(HEAD.replace(b"1000", b"12").replace(b"wait=1", b"wait=0"))
        await proxy.passes(0.2)
        caller.writer.write(b'{"Name":"A"}')
        assert (await caller.reply()).status == 200
