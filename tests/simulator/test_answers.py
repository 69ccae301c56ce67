"""The exact bytes of what is known of Xero's refusals, on a real socket, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxy.simulator import answers
from proxy.simulator.server import Simulator
from tests.simulator.sockets import TOO_MANY, Start, answer, head

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"minute_limit": 1},
            {
                b"Retry-After": b"60",
                b"X-Rate-Limit-Problem": b"minute",
                b"X-AppMinLimit-Remaining": b"9999",
                b"X-MinLimit-Remaining": b"0",
                b"X-DayLimit-Remaining": b"4999",
            },
        ),
        (
            {"day_limit": 1},
            {
                b"Retry-After": b"86400",
                b"X-Rate-Limit-Problem": b"day",
                b"X-AppMinLimit-Remaining": b"9999",
                b"X-MinLimit-Remaining": b"59",
                b"X-DayLimit-Remaining": b"0",
            },
        ),
        (
            {"app_minute_limit": 1},
            {
                b"Retry-After": b"60",
                b"X-Rate-Limit-Problem": b"appminute",
                b"X-AppMinLimit-Remaining": b"0",
                b"X-MinLimit-Remaining": b"59",
                b"X-DayLimit-Remaining": b"4999",
            },
        ),
    ],
    ids=["minute", "day", "appminute"],
)
async def test_a_429_has_an_empty_body_and_no_content_type(
    start: Start, options: dict[str, int], expected: dict[bytes, bytes]
) -> None:
    simulator = await start(**options)
    assert (await answer(simulator, head()))[0] == b"HTTP/1.1 200 OK"
    line, fields, body = await answer(simulator, head())
    assert fields.pop(b"Xero-Correlation-Id")
    assert (line, fields, body) == (TOO_MANY, {b"Content-Length": b"0", **expected}, b"")


async def test_the_concurrent_429_has_no_retry_after(start: Start) -> None:
    simulator = await start(concurrent_limit=1, latency=(1.0, 1.0))
    first = asyncio.create_task(answer(simulator, head()))
    await simulator.clock.sleep_until(simulator.clock.now() + 0.5)
    line, fields, body = await answer(simulator, head())
    assert fields.pop(b"Xero-Correlation-Id")
    assert (line, body) == (TOO_MANY, b"")
    assert fields == {
        b"Content-Length": b"0",
        b"X-Rate-Limit-Problem": b"concurrent",
        b"X-AppMinLimit-Remaining": b"9999",
        b"X-MinLimit-Remaining": b"59",
        b"X-DayLimit-Remaining": b"4999",
    }
    assert (await first)[0] == b"HTTP/1.1 200 OK"


def make_offline(simulator: Simulator) -> None:
    simulator.offline("t1")


def make_maintenance(simulator: Simulator) -> None:
    simulator.maintenance(60)


def make_unavailable(simulator: Simulator) -> None:
    simulator.unavailable(60)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_offline, b"The Organisation is offline"),
        (make_maintenance, b"The Xero API is currently offline for maintenance"),
        (make_unavailable, b"The Xero API is temporarily unavailable"),
    ],
)
async def test_a_503_is_plain_text_without_retry_after(
    start: Start, make: Callable[[Simulator], None], words: bytes
) -> None:
    simulator = await start()
    make(simulator)
    line, fields, body = await answer(simulator, head())
    assert (line, body) == (b"HTTP/1.1 503 Service Unavailable", words)
    assert fields[b"Content-Type"] == b"text/plain; charset=utf-8"
    assert fields[b"Content-Length"] == b"%d" % len(words)
    assert b"Retry-After" not in fields
    assert (b"X-MinLimit-Remaining" in fields) is (make is make_offline)


async def test_what_ends_with_time_ends(start: Start) -> None:
    simulator = await start()
    simulator.offline("t1", 300)
    simulator.advance(299)
    assert b" 503 " in (await answer(simulator, head()))[0]
    simulator.advance(1)
    assert b" 200 " in (await answer(simulator, head()))[0]


async def test_an_empty_504_and_an_html_502(start: Start) -> None:
    simulator = await start()
    simulator.fail_next(1, "502")
    simulator.fail_next(1, "504")
    _, fields, body = await answer(simulator, head())
    assert (fields[b"Content-Type"], body) == (b"text/html; charset=utf-8", answers.BAD_GATEWAY.body)
    assert await answer(simulator, head()) == (
        b"HTTP/1.1 504 Gateway Timeout",
        {b"Content-Length": b"0"},
        b"",
    )
