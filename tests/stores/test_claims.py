"""Replicas that agree who refreshes a token, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from proxy.clock import Clock
from proxy.core.tokens.request import refresh_key
from proxy.stores import claims
from proxy.stores.claims import RedisClaims
from tests.servers import Server, valkey_server

SECRET, OTHER = b"s" * 32, b"o" * 32
ANSWER = b'{"access_token":"c4n4ry"}'


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with valkey_server() as one:
        yield one


@pytest.fixture(autouse=True)
def _empty(shared: Server) -> None:
    shared.do("FLUSHALL")


@contextlib.asynccontextmanager
async def replicas(url: str, count: int = 2) -> AsyncIterator[list[RedisClaims]]:
    many = [RedisClaims(url, "prefix", Clock(), Random(number), os.urandom) for number in range(count)]
    try:
        yield many
    finally:
        for one in many:
            await one.close()


async def test_one_makes_the_call_and_the_others_get_its_answer(shared: Server) -> None:
    async with replicas(shared.url, 4) as (first, *others):
        assert await first.claim(SECRET) is None
        waiting = [asyncio.create_task(one.claim(SECRET)) for one in others]
        assert await first.claim(OTHER) is None, "another token is another's turn"
        first.conclude(SECRET, ANSWER, 120.0)
        assert await asyncio.gather(*waiting) == [ANSWER] * 3
        assert await others[0].claim(SECRET) == ANSWER, "it is kept for whoever comes later"


async def test_when_the_call_brought_nothing_exactly_one_of_the_others_tries(shared: Server) -> None:
    async with replicas(shared.url, 3) as (first, *others):
        assert await first.claim(SECRET) is None
        waiting = {asyncio.create_task(one.claim(SECRET)) for one in others}
        first.conclude(SECRET, None, 0.0)
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [None]
        assert len(rest) == 1
        (second,) = (one for one in others if one._claims)
        second.conclude(SECRET, ANSWER, 120.0)
        assert await rest.pop() == ANSWER


async def test_a_claim_is_renewed_while_its_owner_lives_and_taken_over_when_it_died(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(claims, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.02)
    async with replicas(shared.url) as (owner, other):
        assert await owner.claim(SECRET) is None
        waiting = asyncio.create_task(other.claim(SECRET))
        await asyncio.wait([waiting], timeout=1.5)
        assert not waiting.done()
        owner._claims[SECRET][1].cancel()  # as its process does that dies
        assert await asyncio.wait_for(waiting, 10.0) is None
        owner.conclude(SECRET, ANSWER, 120.0)  # it was only slow
        await asyncio.gather(*owner._telling)
        other.conclude(SECRET, b"a second answer", 120.0)
        await asyncio.gather(*other._telling)
        assert await owner.claim(SECRET) == ANSWER


async def test_an_answer_is_kept_no_longer_than_it_is_good_for(shared: Server) -> None:
    async with replicas(shared.url) as (first, other):
        assert await first.claim(SECRET) is None
        first.conclude(SECRET, ANSWER, 120.0)
        await first.close()
        (key,) = shared.do("KEYS", "*")
        assert 100_000 < shared.do("PTTL", key) <= 120_000
        shared.do("PEXPIRE", key, 0)
        assert await other.claim(SECRET) is None


async def test_the_server_holds_nothing_that_is_of_use_to_anybody_else(shared: Server) -> None:
    async with replicas(shared.url) as (first, other):
        assert await first.claim(SECRET) is None
        first.conclude(SECRET, ANSWER, 120.0)
        await first.close()
        (key,) = shared.do("KEYS", "*")
        held = shared.do("GET", key)
        assert SECRET not in key + held
        assert SECRET.hex().encode() not in key
        assert b"c4n4ry" not in held
        stolen = key.replace(refresh_key(SECRET).hex().encode(), refresh_key(OTHER).hex().encode())
        shared.do("RENAME", key, stolen)
        assert await other.claim(OTHER) is None, "another refresh cannot read it"


@pytest.mark.parametrize("held", [b"A", b"Anonsense", b"A" + bytes(100)])
async def test_what_is_no_answer_is_not_believed(shared: Server, held: bytes) -> None:
    async with replicas(shared.url) as (first, _):
        shared.do("SET", f"prefix:refresh:{refresh_key(SECRET).hex()}", held)
        assert await first.claim(SECRET) is None


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://127.0.0.1:none", "redis://x/0?nonsense=1"])
async def test_without_a_server_everybody_goes_by_itself(url: str) -> None:
    async with replicas(url) as (first, other):
        assert await first.claim(SECRET) is None
        assert await other.claim(SECRET) is None
        first.conclude(SECRET, ANSWER, 120.0)


async def test_a_server_that_hangs_delays_nobody_for_long(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PATIENCE_SECONDS", 0.3)
    async with replicas(shared.url) as (first, other):
        assert await first.claim(SECRET) is None
        shared.signal(signal.SIGSTOP)
        try:
            asked = (other.claim(bytes([number]) * 32) for number in range(100))
            assert await asyncio.wait_for(asyncio.gather(*asked), 10.0) == [None] * 100
        finally:
            shared.signal(signal.SIGCONT)
        assert other._away_until > 0.0
        other._away_until = 0.0  # the time has passed
        first.conclude(SECRET, ANSWER, 120.0)
        assert await asyncio.wait_for(other.claim(SECRET), 10.0) == ANSWER, "it recovers by itself"


async def test_a_server_that_was_started_again_is_used_again(shared: Server) -> None:
    async with replicas(shared.url) as (first, other):
        for _ in range(2):
            assert await first.claim(SECRET) is None
            first.conclude(SECRET, ANSWER, 120.0)
            assert await other.claim(SECRET) == ANSWER
            shared.stop()
            shared.start()


async def test_what_one_replica_hears_revoked_all_know(shared: Server) -> None:
    async with replicas(shared.url) as (first, second):
        assert not await second.revoked(OTHER)
        await first.revoke(OTHER, 600.0)
        assert await second.revoked(OTHER)
        assert not await second.revoked(SECRET)
    assert 590 < shared.do("TTL", f"prefix:revoked:{OTHER.hex()}") <= 600


async def test_a_waiter_that_gives_up_claims_nothing(shared: Server) -> None:
    async with replicas(shared.url) as (first, other):
        assert await first.claim(SECRET) is None
        waiting = asyncio.create_task(other.claim(SECRET))
        await asyncio.wait([waiting], timeout=0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        first.conclude(SECRET, None, 0.0)
        await asyncio.gather(*first._telling)
        assert shared.do("KEYS", "*") == []
        other.conclude(SECRET, ANSWER, 120.0)
        assert shared.do("KEYS", "*") == [], "nor can it conclude what is not its own"
