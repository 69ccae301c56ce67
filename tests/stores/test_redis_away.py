"""Replicas over a server that goes away, and comes back. A real one, so real time."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Denial, Permit, Settlement
from proxy.core.limits.holds import HoldTimes
from proxy.core.model import Limit, StoreView
from proxy.stores.link import Link
from tests import servers
from tests.servers import Server
from tests.stores.contract import ASK
from tests.stores.replica import KEY, SECRET, Replica
from tests.strict_xero import OFFLINE, OK


async def test_lost_scripts_are_loaded_again(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path) as one:
        await one.permit()
        server.do("SCRIPT", "FLUSH")
        permits = await asyncio.gather(*(one.permit() for _ in range(3)))
        assert len({permit.number for permit in permits}) == 3
        assert one.store.health().up


async def test_a_frozen_server_costs_one_decision_the_timeout_and_the_others_nothing(
    server: Server, tmp_path: Path
) -> None:
    async with Replica(server.url, tmp_path, timeout=0.25) as one:
        server.signal(signal.SIGSTOP)
        began = one.clock.now()
        permit = await one.permit()
        assert 0.2 <= one.clock.now() - began < 1.0
        assert one.store.health().trouble == "timeout"
        at_once = one.store.acquire_now(ASK)
        assert isinstance(at_once, Permit)
        await one.settle(at_once)
        await one.settle(permit)
        server.signal(signal.SIGCONT)
        await one.until(up=True)
        for _ in range(5):  # what came late was not granted
            await one.permit()


async def test_a_replica_alone_takes_its_share_and_comes_back(server: Server, tmp_path: Path) -> None:
    caps = Caps(minute=8, concurrent=8)
    async with Replica(server.url, tmp_path, caps) as one, Replica(server.url, tmp_path, caps) as other:
        await other.permit()
        for each in (one, other):  # each has seen both
            while each.store.health().replicas < 2:
                await one.clock.sleep_until(one.clock.now() + 0.01)
        server.stop()
        await one.until(up=False)
        permits = [await one.permit() for _ in range(4)]
        assert (await one.denial()).limit in {Limit.MINUTE, Limit.CONCURRENT}
        assert one.store.acquire_now(ASK) is not None
        server.start()
        assert await one.until(up=True) < 2.0
        await other.until(up=True)
        # The server is empty, and yet nobody gets more than its share before a window has passed.
        for permit in permits:
            await one.settle(permit)
        assert (await one.denial()).limit == Limit.MINUTE
        assert one.store.health().replicas >= 1
        reasons = [line["reason"] for line in one.logged() if line["event"] == "store_away"]
        assert reasons == ["lost"]
        assert one.count("errors_total", reason="lost") == 1
        assert one.count("fallback_seconds_total") > 0


async def test_a_hold_that_began_alone_is_told_when_the_server_is_back(
    server: Server, tmp_path: Path
) -> None:
    async with Replica(server.url, tmp_path) as one:
        server.stop()
        await one.until(up=False)
        await one.settle(await one.permit(), OFFLINE)
        assert (await one.denial()).hold == KEY
        server.start()
        await one.until(up=True)
        async with Replica(server.url, tmp_path) as other:
            await asyncio.wait_for(settled(other), 10.0)
            assert (await other.denial()).hold == KEY


async def settled(replica: Replica) -> None:
    while not [*replica.store.view()[2]]:
        await replica.clock.sleep_until(replica.clock.now() + 0.01)


async def test_what_is_owed_is_paid_when_the_server_is_back(server: Server, tmp_path: Path) -> None:
    caps = Caps(concurrent=2)
    async with (
        Replica(server.url, tmp_path, caps, timeout=0.5) as one,
        Replica(server.url, tmp_path, caps) as other,
    ):
        permits = [await one.permit() for _ in range(2)]
        server.signal(signal.SIGSTOP)
        for permit in permits:
            await one.settle(permit)
        await one.until(up=False)
        server.signal(signal.SIGCONT)
        await one.until(up=True)
        await other.until(up=True)
        while isinstance(await other.store.acquire(ASK), Denial):
            await one.clock.sleep_until(one.clock.now() + 0.01)
        assert one.count("leases_lost_total") == 0


async def test_a_flushed_server_is_noticed_by_the_next_decision(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path, Caps(minute=2)) as one:
        for _ in range(2):
            await one.settle(await one.permit())
        server.do("FLUSHALL")
        assert (await one.denial()).limit == Limit.MINUTE
        await one.until(up=True)
        assert (await one.denial()).limit == Limit.MINUTE
        assert [line.get("reason") for line in one.logged()] == ["flushed", None]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), "oom"),
        (("REPLICAOF", "127.0.0.1", "1"), "readonly"),
        (("CONFIG", "SET", "requirepass", SECRET), ""),
    ],
)
async def test_a_server_that_cannot_write_is_away(
    server: Server, tmp_path: Path, command: tuple[str, ...], reason: str
) -> None:
    async with Replica(server.url, tmp_path) as one:
        server.do(*command)
        await one.permit()
        assert one.store.health().trouble == reason


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        ("", "auth"),
        (":wrong@", "auth"),
        ("nobody:wrong@", "auth"),
        ("no-eval:pw@", "noperm"),
        ("no-keys:pw@", "noperm"),
        ("no-writes:pw@", "noperm"),
        ("other-keys:pw@", "noperm"),
    ],
)
@pytest.mark.parametrize("kind", servers.installed())
async def test_a_server_that_wants_another_login_says_so_in_a_word(
    kind: str, login: str, reason: str, tmp_path: Path
) -> None:
    with servers.server(servers.installed()[kind]) as server:
        for name, rules in (
            ("no-eval", ("~*", "+@all", "-eval", "-evalsha")),
            ("no-keys", ("~other:*", "+@all")),
            ("no-writes", ("~*", "+@all", "-@write", "+eval", "+evalsha")),
            ("other-keys", ("~*", "+@all", "-hset", "-zadd", "-set", "-incrby")),
        ):
            server.do("ACL", "SETUSER", name, "on", ">pw", "&*", *rules)
        server.do("CONFIG", "SET", "requirepass", SECRET)
        async with Replica(server.url.replace("//", f"//{login}"), tmp_path) as one:
            assert one.store.health().trouble == reason
            assert one.count("errors_total", reason=reason) >= 1


async def test_a_server_that_was_never_there_leaves_a_quarter(tmp_path: Path) -> None:
    url = f"redis://:{SECRET}@127.0.0.1:{servers.free_port()}"
    async with Replica(url, tmp_path, Caps(concurrent=8)) as one:
        assert one.store.health().trouble == "unreachable"
        for _ in range(2):
            await one.permit()
        assert (await one.denial()).limit == Limit.CONCURRENT
        assert SECRET not in f"{one.logged()}{one.store.health()}"


async def test_a_connection_that_ends_with_its_first_answer_is_not_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = Link.data_received
    monkeypatch.setattr(Link, "data_received", lambda link, data: received(link, data + b"+OK\r\n"))
    async with Replica(server.url, tmp_path, Caps(concurrent=4)) as one:
        assert one.store.health() == StoreView("redis", up=False, trouble="error", replicas=4)
        await one.permit()
        assert (await one.denial()).limit == Limit.CONCURRENT


async def test_a_replica_that_was_taken_for_dead_counts_what_it_lost(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path) as one:
        permit = await one.permit()
        await one.taken_for_dead()
        await one.settle(permit)
        await one.ears.until(lambda: permit.number in one.ears.effects)
        assert one.count("leases_lost_total") == 1
        assert one.count("operations_total", operation="settle", outcome="lost") == 1


async def test_a_replica_whose_lease_has_lapsed_keeps_to_its_share_for_a_while(
    server: Server, tmp_path: Path
) -> None:
    async with Replica(server.url, tmp_path, Caps(minute=1)) as one:
        await one.settle(await one.permit())
        await one.taken_for_dead()
        while not one.count("errors_total", reason="lapsed"):
            await one.clock.sleep_until(one.clock.now() + 0.01)
        await one.until(up=True)
        assert [line["event"] for line in one.logged()] == ["store_away", "store_back"]
        assert (await one.denial()).limit == Limit.MINUTE


async def test_a_hold_that_began_and_ended_alone_does_not_begin_anew(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path, times=HoldTimes(offline=0.2)) as one:
        server.stop()
        await one.until(up=False)
        await one.settle(await one.permit(), OFFLINE)
        await one.clock.sleep_until(one.clock.now() + 0.3)
        probe = await one.permit()
        await one.settle(probe)
        assert [*one.store.view()[2]] == []
        server.start()
        await one.until(up=True)
        await one.clock.sleep_until(one.clock.now() + 0.1)
        assert one.ears.changes == []
        await one.permit()


async def test_a_server_that_went_back_to_an_older_state_keeps_no_permit(tmp_path: Path) -> None:
    binary = servers.valkey()
    assert binary is not None
    caps = Caps(concurrent=2, minute_seconds=0.5)
    with servers.server(binary, "--dir", str(tmp_path)) as server:
        async with Replica(server.url, tmp_path, caps) as one:
            permits = [await one.permit() for _ in range(2)]
            server.do("SAVE")
            await one.settle(permits[0])
            await one.ears.until(lambda: permits[0].number in one.ears.effects)
            server.stop()
            await one.until(up=False)
            server.start()
            await one.until(up=True)
            (held,) = [key for key in server.do("KEYS", "*") if b":permits:" in key]
            assert server.do("HKEYS", held) == [b"", b"%d" % permits[1].number]
            await one.settle(permits[1])
            while server.do("HLEN", held) > 1:
                await one.clock.sleep_until(one.clock.now() + 0.01)


async def test_a_place_that_was_freed_while_the_server_was_away_is_free_there_when_it_is_back(
    server: Server, tmp_path: Path
) -> None:
    caps = Caps(concurrent=1)
    async with Replica(server.url, tmp_path, caps, timeout=0.25) as one:
        permit = await one.permit()
        await one.store.settle(permit, Settlement(OK, True, one.clock.now()), ended=False)
        server.signal(signal.SIGSTOP)
        await one.until(up=False)
        one.store.release(permit)
        server.signal(signal.SIGCONT)
        await one.until(up=True)
        await one.permit()
