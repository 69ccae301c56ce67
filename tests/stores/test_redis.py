"""Replicas over one server, and over one that goes away. Real servers, so real time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Self

import pytest
from prometheus_client import CollectorRegistry

from proxy.clock import Clock
from proxy.core.accounts import Caps
from proxy.core.holds import HoldAction, HoldTimes
from proxy.core.limits import Ask, Denial, Permit, Settlement
from proxy.core.model import HoldKey, Limit, Scope
from proxy.log import Log
from proxy.stores import redis as under_test
from proxy.stores.redis import RedisStore
from proxy.stores.session import Server as Address
from proxy.stores.telemetry import StoreTelemetry
from tests import servers
from tests.servers import Server
from tests.stores.contract import ASK, Ears
from tests.strict_xero import OFFLINE, OK

KEY = HoldKey(Scope.TENANT, app="app", tenant="tenant")
SECRET = "canary-7f3a"


@pytest.fixture
def server() -> Iterator[Server]:
    """One of the test's own, to be broken."""
    binary = servers.valkey()
    if binary is None:
        pytest.fail(servers.MISSING)
    with servers.server(binary) as one:
        yield one


class Replica:
    """A store, what it hears, logs and counts."""

    def __init__(
        self, url: str, folder: Path, caps: Caps | None = None, timeout: float = 2.0, **options: str
    ) -> None:
        self.ears, self.clock, self.registry = Ears(), Clock(), CollectorRegistry()
        self._path = folder / os.urandom(4).hex()
        self._file = self._path.open("wb")
        self._log = Log(self.clock.wall, descriptor=self._file.fileno())
        telemetry = StoreTelemetry(self.registry, self._log)
        names = {"prefix": "test", "app_id": "", **options}
        self.store = RedisStore(
            Address(url, timeout), caps or Caps(), HoldTimes(), self.clock, Random(), telemetry, **names
        )

    async def __aenter__(self) -> Self:
        try:
            await self.store.start(self.ears)
        except OSError:
            self._file.close()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.store.close()
        self._log.close(1.0)
        self._file.close()

    async def permit(self, ask: Ask = ASK) -> Permit:
        decision = await self.store.acquire(ask)
        assert isinstance(decision, Permit), decision
        return decision

    async def denial(self, ask: Ask = ASK) -> Denial:
        decision = await self.store.acquire(ask)
        assert isinstance(decision, Denial), decision
        return decision

    async def settle(self, permit: Permit, row: object = OK) -> None:
        assert row in {OK, OFFLINE}
        await self.store.settle(permit, Settlement(OFFLINE if row is OFFLINE else OK, True, self.clock.now()))

    async def until(self, *, up: bool, within: float = 10.0) -> float:
        """Wait until it says so; the seconds that it took."""
        began = self.clock.now()
        while self.store.health().up is not up:
            assert self.clock.now() < began + within
            await self.clock.sleep_until(self.clock.now() + 0.01)
        return self.clock.now() - began

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"xero_proxy_store_{name}", labels) or 0.0

    def logged(self) -> list[dict[str, object]]:
        self._log.close(1.0)
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines()]


async def test_replicas_share_every_limit(server: Server, tmp_path: Path) -> None:
    caps = Caps(minute=4, concurrent=3)
    async with Replica(server.url, tmp_path, caps) as one, Replica(server.url, tmp_path, caps) as other:
        first = await one.permit()
        await other.permit()
        await one.permit()
        assert (await other.denial()).limit == Limit.CONCURRENT
        await one.settle(first)
        await other.permit()
        assert (await one.denial()).limit == Limit.CONCURRENT
        assert one.store.health().up


async def test_two_apps_share_a_server_and_nothing_else(server: Server, tmp_path: Path) -> None:
    caps = Caps(concurrent=1)
    async with (
        Replica(server.url, tmp_path, caps, app_id="a") as one,
        Replica(server.url, tmp_path, caps, app_id="b") as other,
        Replica(server.url, tmp_path, caps, app_id="a", prefix="else") as third,
    ):
        for each in (one, other, third):
            await each.permit()
            assert each.store.health().replicas == 1


async def test_room_and_holds_elsewhere_are_heard(server: Server, tmp_path: Path) -> None:
    caps = Caps(concurrent=1)
    async with Replica(server.url, tmp_path, caps) as one, Replica(server.url, tmp_path, caps) as other:
        while server.do("PUBSUB", "NUMSUB", "{test:}:events")[1] < 2:
            await one.clock.sleep_until(one.clock.now() + 0.01)
        permit = await one.permit()
        denial = await other.denial()
        assert denial.until is not None  # a poll, lest the news be lost
        assert 0.0 < denial.until - other.clock.now() <= 1.0
        await one.settle(permit, OFFLINE)
        await other.ears.until(lambda: bool(other.ears.rooms and other.ears.changes))
        assert other.ears.rooms == [("app", "tenant")]
        assert [(each.action, each.key) for each in other.ears.changes] == [(HoldAction.BEGUN, KEY)]
        (hold,) = other.store.view()[2]
        assert hold.key == KEY
        assert hold.seconds == pytest.approx(300.0, abs=2.0)
        assert await other.store.clear(KEY) is not None
        await one.ears.until(lambda: bool(one.ears.changes))
        assert one.store.view()[2] == ()
        assert one.ears.rooms == []


async def test_a_beat_brings_the_holds_that_nobody_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test.RedisStore, "_told", lambda _self, _message: None)
    async with Replica(server.url, tmp_path) as one, Replica(server.url, tmp_path) as other:
        await one.settle(await one.permit(), OFFLINE)
        await asyncio.wait_for(other.ears.until(lambda: bool(other.ears.changes)), 10.0)
        assert [(each.action, each.key) for each in other.ears.changes] == [(HoldAction.EXTENDED, KEY)]
        await one.store.clear(KEY)
        await asyncio.wait_for(other.ears.until(lambda: len(other.ears.changes) > 1), 10.0)
        assert other.ears.changes[-1].action is HoldAction.ENDED
        assert other.store.view()[2] == ()


async def test_whoever_leaves_while_it_asks_holds_nothing(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path, Caps(concurrent=1, minute=1)) as one:
        for _ in range(3):
            asks = asyncio.ensure_future(one.store.acquire(ASK))
            await asyncio.wait([asks], timeout=0)
            asks.cancel()
            await asyncio.wait([asks])
            assert asks.cancelled()
        await one.permit()


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
    while not replica.store.view()[2]:
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


async def test_a_server_that_was_never_there_leaves_a_quarter(tmp_path: Path) -> None:
    url = f"redis://:{SECRET}@127.0.0.1:{servers.free_port()}"
    async with Replica(url, tmp_path, Caps(concurrent=8)) as one:
        assert one.store.health().trouble == "unreachable"
        for _ in range(2):
            await one.permit()
        assert (await one.denial()).limit == Limit.CONCURRENT
        assert SECRET not in f"{one.logged()}{one.store.health()}"


async def test_a_wrong_password_is_told_without_it(server: Server, tmp_path: Path) -> None:
    server.do("CONFIG", "SET", "requirepass", "right")
    async with Replica(server.url.replace("//", f"//:{SECRET}@"), tmp_path) as one:
        assert one.store.health().trouble == "auth"
        assert SECRET not in f"{one.logged()}{one.store.health()}"
    async with Replica(server.url.replace("//", "//:right@"), tmp_path) as one:
        assert one.store.health().up


async def test_an_address_that_no_client_knows_is_refused_without_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="XERO_PROXY_REDIS_URL") as refused:
        async with Replica(f"redis://:{SECRET}@h/0?nonsense={SECRET}", tmp_path):
            pass
    assert SECRET not in str(refused.value)


async def test_whoever_ends_takes_nothing_with_it(server: Server, tmp_path: Path) -> None:
    caps = Caps(concurrent=1)
    async with Replica(server.url, tmp_path, caps) as one:
        await one.settle(await one.permit())
    async with Replica(server.url, tmp_path, caps) as other:
        assert other.store.health().replicas == 1
        await other.permit()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """One that nobody vouches for, with its key."""
    made = tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    )
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {made} -out {made}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + Path(f"{made}.crt").read_bytes())
    return made


async def test_tls_and_a_password_by_the_url(tmp_path: Path, certificate: Path) -> None:
    binary = servers.redis()
    if binary is None:
        pytest.skip("apt-get install redis-server")
    port = servers.free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", SECRET]
    options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)]
    with servers.server(binary, *options):
        url = f"rediss://:{SECRET}@127.0.0.1:{port}/0"
        async with Replica(f"{url}?ssl_ca_certs={certificate}", tmp_path) as one:
            assert one.store.health().up
            await one.settle(await one.permit())
        async with Replica(url, tmp_path) as one:
            assert one.store.health().trouble == "unreachable"
            assert SECRET not in f"{one.logged()}"
