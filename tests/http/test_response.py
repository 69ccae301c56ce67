"""Large responses: read piece by piece, read ahead, cut, given up."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.http.response import Truncated
from proxy.http.spool import MEMORY
from tests.inprocess import streamed
from tests.sockets import (
    Close,
    answering,
    good,
    reset_on_close,
    whole_of,
)

BIG = b"0123456789abcdef" * 200_000
FRAMED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG)


async def test_a_large_response_can_be_read_piece_by_piece() -> None:
    async with answering(FRAMED + BIG) as (up, seen):
        response = await good(up)
        assert (response.complete, response.length) == (False, len(BIG))
        assert len(response.first) < 1_000_000
        assert await whole_of(response) == BIG
        await whole_of(await good(up))
    assert seen.connections == 1


async def test_reading_ahead_ends_when_upstream_has_delivered_though_the_caller_reads_nothing() -> None:
    async with answering(FRAMED + BIG) as (up, seen):
        response = await good(up)
        ended = asyncio.Event()
        response.read_ahead(ended.set)
        await ended.wait()
        other = await good(up)
        other.close()
        assert await whole_of(response) == BIG
        response.close()
    assert seen.connections == 1


async def test_a_body_cut_in_the_middle_is_told_to_whoever_reads_it() -> None:
    async with answering(Close(FRAMED + BIG[:1_000_000])) as (up, _):
        response = await good(up)
        ended = asyncio.Event()
        response.read_ahead(ended.set)
        with pytest.raises(Truncated):
            await whole_of(response)
        assert ended.is_set()


async def test_what_is_read_ahead_is_read_to_its_end_though_the_caller_has_left() -> None:
    async with answering(FRAMED + BIG) as (up, seen):
        response = await good(up)
        ended = asyncio.Event()
        response.read_ahead(ended.set)
        response.close()
        response.close()
        await ended.wait()
        assert await response.read() == b""
        (await good(up)).close()
    assert seen.connections == 1


async def test_a_response_that_nobody_reads_ends_its_connection() -> None:
    async with answering(FRAMED + BIG) as (up, seen):
        (await good(up)).close()
        (await good(up)).close()
    assert seen.connections == 2


async def test_a_large_response_that_was_read_leaves_nothing_behind_on_its_kept_connection() -> None:
    async with answering(FRAMED + BIG) as (up, seen):

        async def read() -> weakref.ref[object]:
            response = await good(up)
            await whole_of(response)
            return weakref.ref(response._rest)

        left = [await asyncio.create_task(read()) for _ in range(6)]
        # asyncio keeps the contexts of two tasks: that which connected, and that which went on reading last.
        assert [each() for each in left[1:-1]] == [None] * 4
    assert (seen.connections, len(seen.requests)) == (1, 6)


async def test_the_end_of_a_kept_connection_is_nothing_to_report() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    async with answering(FRAMED + BIG) as (up, seen):
        await whole_of(await good(up))
        reset_on_close(seen.writers[0].get_extra_info("socket"))
        seen.writers[0].transport.abort()
        for _ in range(5):
            await Clock().sleep_until(0)
        await whole_of(await good(up))
    gc.collect()
    assert (told, seen.connections) == ([], 2)


@given(st.lists(st.sampled_from(["small", "large", "read", "turn"]), max_size=40))
def test_what_is_read_ahead_comes_out_in_order_in_memory_and_on_disk(course: list[str]) -> None:
    async def run() -> None:
        clock = Clock()
        response, inflow = streamed(clock, b"")
        response.read_ahead(lambda: None)
        came = sent = b""
        for number, step in enumerate(course):
            match step:
                case "read" if len(came) < len(sent):
                    came += await response.read()
                case "turn":
                    await clock.sleep_until(clock.now())
                case "small" | "large":
                    piece = b"%d," % number * (1 if step == "small" else MEMORY // 2)
                    sent += piece
                    inflow.put(piece)
        inflow.end()
        while piece := bytes(await response.read()):
            came += piece
        assert came == sent

    asyncio.run(run())
