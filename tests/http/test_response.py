"""Large responses: read piece by piece, read ahead, cut, given up."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.http.response import Response, Truncated
from proxy.http.spool import MEMORY
from tests.inprocess import streamed
from tests.sockets import (
    Close,
    answering,
    good,
)

BIG = b"0123456789abcdef" * 200_000
FRAMED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG)


async def rest_of(response: Response) -> bytes:
    body = response.first
    while piece := await response.read():
        body += piece
    return body


async def test_a_large_response_can_be_read_piece_by_piece() -> None:
    async with answering(FRAMED + BIG) as (up, seen):
        response = await good(up)
        assert (response.complete, response.length) == (False, len(BIG))
        assert len(response.first) < 1_000_000
        assert await rest_of(response) == BIG
        await rest_of(await good(up))
    assert seen.connections == 1


async def test_reading_ahead_ends_when_upstream_has_delivered_though_the_caller_reads_nothing() -> None:
    async with answering(FRAMED + BIG) as (up, seen):
        response = await good(up)
        ended = asyncio.Event()
        response.read_ahead(ended.set)
        await ended.wait()
        other = await good(up)
        other.close()
        assert await rest_of(response) == BIG
        response.close()
    assert seen.connections == 1


async def test_a_body_cut_in_the_middle_is_told_to_whoever_reads_it() -> None:
    async with answering(Close(FRAMED + BIG[:1_000_000])) as (up, _):
        response = await good(up)
        ended = asyncio.Event()
        response.read_ahead(ended.set)
        with pytest.raises(Truncated):
            await rest_of(response)
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
