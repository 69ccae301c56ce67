"""Refreshes through four replicas, as processes beside a real server: one call for each token."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs

import pytest

from proxy.clock import Clock
from tests.e2e.harness import Reply
from tests.e2e.test_process import Process
from tests.e2e.test_process import serving as replica
from tests.e2e.test_refreshes import refresh
from tests.servers import Server, valkey_server
from tests.sockets import read_request, serving

LATENCY = 0.3


@pytest.fixture
def shared() -> Iterator[Server]:
    with valkey_server() as one:
        yield one


def tokens(number: int, token: str) -> bytes:
    """What is answered to call `number` of all, which refreshed `token`."""
    return f'{{"access_token":"{number} for {token}"}}'.encode()


class Identity:
    """Counts the refreshes of each token, and answers each with tokens that it gives only once. Those in
    `silent` get no answer as often as they say.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.silent: Counter[str] = Counter()
        self.arrived = asyncio.Event()
        self.url = ""

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = Clock()
        while True:
            _, _, form = (await read_request(reader)).partition(b"\r\n\r\n")
            token = parse_qs(form.decode())["refresh_token"][0]
            self.calls[token] += 1
            self.arrived.set()
            if self.calls[token] <= self.silent[token]:
                await reader.read()
                return
            await clock.sleep_until(clock.now() + LATENCY)
            body = tokens(sum(self.calls.values()), token)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@contextlib.asynccontextmanager
async def fleet(url: str, count: int) -> AsyncIterator[tuple[list[Process], Identity]]:
    identity = Identity()
    async with serving(identity.converse) as address, contextlib.AsyncExitStack() as stack:
        origin = str(address)
        each = (replica(upstream=origin, identity_upstream=origin, redis_url=url) for _ in range(count))
        many = await asyncio.gather(*map(stack.enter_async_context, each))
        yield many, identity


async def test_a_thousand_refreshes_over_four_replicas_are_one_call_for_each_token(shared: Server) -> None:
    async with fleet(shared.url, 4) as (replicas, identity):
        spent = [f"t{number % 25}" for number in range(1000)]
        replies: list[Reply] = await asyncio.gather(
            *(replicas[number % 4].ask(refresh(token.encode())) for number, token in enumerate(spent))
        )
    assert {reply.status for reply in replies} == {200}
    assert set(identity.calls.values()) == {1}
    assert len(identity.calls) == 25
    told = {(token, reply.body) for token, reply in zip(spent, replies, strict=True)}
    assert len(told) == 25
    assert sum(reply.attempts for reply in replies) == 25


async def test_when_the_replica_that_makes_the_call_dies_another_one_makes_it(shared: Server) -> None:
    async with fleet(shared.url, 3) as (replicas, identity):
        identity.silent["t"] = 1
        first = asyncio.create_task(replicas[0].ask(refresh(b"t")))
        await identity.arrived.wait()
        others = [asyncio.create_task(one.ask(refresh(b"t"))) for one in replicas[1:]]
        replicas[0].process.kill()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await first
        replies = await asyncio.gather(*others)
    assert {(reply.status, reply.body) for reply in replies} == {(200, tokens(2, "t"))}
    assert identity.calls == {"t": 2}


async def test_without_the_server_everybody_is_answered_and_each_replica_calls_once(shared: Server) -> None:
    async with fleet(shared.url, 2) as (replicas, identity):
        shared.stop()
        replies = await asyncio.gather(*(replicas[number % 2].ask(refresh(b"t")) for number in range(40)))
        assert {reply.status for reply in replies} == {200}
        assert identity.calls["t"] <= 2
