"""Replicas over one server. A real one, so real time."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from config.settings import read_settings
from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Permit
from proxy.core.limits.holds import SILENT_SECONDS, HoldAction, HoldChange, HoldTimes
from proxy.core.model import Limit
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores import redis as under_test
from proxy.stores.choice import claims
from tests import servers
from tests.inprocess import SILENT
from tests.servers import Server
from tests.stores.contract import ASK
from tests.stores.replica import KEY, SECRET, Replica
from tests.strict_xero import OFFLINE

REFERENCE = Path(__file__).parents[2] / "deploy" / "reference.md"


async def test_replicas_share_every_limit(server: Server, tmp_path: Path) -> None:
    caps = Caps(minute=4, concurrent=3)
    async with Replica(server.url, tmp_path, caps) as one, Replica(server.url, tmp_path, caps) as other:
        first = await one.permit()
        await other.permit()
        await one.permit()
        assert (await other.denial()).limit == Limit.CONCURRENT
        await one.settle(first)
        await one.ears.until(lambda: first.number in one.ears.effects)
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
        assert (await other.denial()).until is None
        await one.settle(permit, OFFLINE)
        await other.ears.until(lambda: bool(other.ears.rooms and other.ears.changes))
        assert other.ears.rooms == [("app", "tenant")]
        assert [(each.action, each.key) for each in other.ears.changes] == [(HoldAction.BEGUN, KEY)]
        (hold,) = other.store.view()[2]
        assert hold.key == KEY
        assert hold.seconds == pytest.approx(300.0, abs=2.0)
        assert await other.store.clear(KEY) is not None
        await one.ears.until(lambda: bool(one.ears.changes))
        assert [*one.store.view()[2]] == []
        assert one.ears.rooms == []


async def test_whoever_was_denied_asks_again_though_nobody_told_it_to(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path, Caps(concurrent=1)) as one:
        await one.permit()
        for _ in range(3):
            assert (await one.denial()).until is None
        began = one.clock.now()
        await one.ears.until(lambda: bool(one.ears.rooms))
        assert 0.4 < one.clock.now() - began < 2.0
        assert one.ears.rooms == [("app", "tenant")]


async def test_who_waits_behind_the_last_place_asks_again_though_nobody_told_it_to(
    server: Server, tmp_path: Path
) -> None:
    async with Replica(server.url, tmp_path, Caps(concurrent=1)) as one:
        one.ears.more = True
        assert (await one.permit()).following is not None
        await asyncio.wait_for(one.ears.until(lambda: bool(one.ears.rooms)), 2.0)


async def test_whoever_waits_for_a_probe_of_another_knows_when_to_ask_again(
    server: Server, tmp_path: Path
) -> None:
    async with (
        Replica(server.url, tmp_path, times=HoldTimes(offline=0.05)) as one,
        Replica(server.url, tmp_path) as other,
    ):
        await one.settle(await one.permit(), OFFLINE)
        await asyncio.wait_for(other.ears.until(lambda: bool(other.ears.changes)), 10.0)
        while not isinstance(await one.store.acquire(ASK), Permit):
            await one.clock.sleep_until(one.clock.now() + 0.01)
        denial = await other.denial()
        assert denial.hold == KEY
        assert denial.until == pytest.approx(other.clock.now() + SILENT_SECONDS, abs=1.0)


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
        assert [*other.store.view()[2]] == []


async def test_a_hold_that_this_replica_alone_knows_of_is_cleared_and_told(
    server: Server, tmp_path: Path
) -> None:
    async with Replica(server.url, tmp_path) as one:
        until = one.clock.now() + 300.0
        one.store._limits.holds.follow(HoldChange(HoldAction.BEGUN, KEY, "offline", until), one.clock.now())
        change = await one.store.clear(KEY)
        assert change == HoldChange(HoldAction.CLEARED, KEY, "offline", until)
        assert await one.store.clear(KEY) is None


async def test_news_that_cannot_be_followed_are_reported_and_the_next_are_heard(
    server: Server, tmp_path: Path
) -> None:
    reported = list[str]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reported.append(context["message"]))

    async def published(seconds: float | None, heard: Callable[[], bool]) -> None:
        hold = ["hold", "foreign", "begun", "tenant", "app", "tenant", "", "offline", seconds, 1]
        while not heard():
            server.do("PUBLISH", "{test:}:events", json.dumps(hold))
            await one.clock.sleep_until(one.clock.now() + 0.01)

    async with Replica(server.url, tmp_path) as one:
        await asyncio.wait_for(published(None, lambda: bool(reported)), 10.0)
        await asyncio.wait_for(published(300.0, lambda: bool(one.ears.changes)), 10.0)
        assert (one.ears.changes[0].action, one.ears.changes[0].key) == (HoldAction.BEGUN, KEY)
        assert reported == ["news of the shared store"]


async def test_whoever_leaves_while_it_asks_holds_nothing(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path, Caps(concurrent=1, minute=1)) as one:
        for _ in range(3):
            asks = asyncio.ensure_future(one.store.acquire(ASK))
            await asyncio.wait([asks], timeout=0)
            asks.cancel()
            await asyncio.wait([asks])
            assert asks.cancelled()
        await one.permit()


async def test_a_wrong_password_is_told_without_it(server: Server, tmp_path: Path) -> None:
    server.do("CONFIG", "SET", "requirepass", "right")
    async with Replica(server.url.replace("//", f"//:{SECRET}@"), tmp_path) as one:
        assert one.store.health().trouble == "auth"
        assert SECRET not in f"{one.logged()}{one.store.health()}"
    async with Replica(server.url.replace("//", "//:right@"), tmp_path) as one:
        assert one.store.health().up


async def test_a_user_restricted_as_the_reference_says_is_enough(server: Server, tmp_path: Path) -> None:
    (rules,) = re.findall(r"ACL SETUSER sidecar on >PASSWORD (.*)", REFERENCE.read_text("utf-8"))
    server.do("ACL", "SETUSER", "sidecar", "on", f">{SECRET}", *rules.split())
    url = server.url.replace("//", f"//sidecar:{SECRET}@")
    async with (
        Replica(url, tmp_path, Caps(concurrent=1), prefix="xero-proxy") as one,
        Replica(url, tmp_path, Caps(concurrent=1), prefix="xero-proxy") as other,
    ):
        permit = await one.permit()
        assert (await other.denial()).limit == Limit.CONCURRENT
        await one.settle(permit, OFFLINE)
        await other.ears.until(lambda: bool(other.ears.rooms and other.ears.changes))
        assert one.store.health().up
    settings = read_settings({"XERO_PROXY_REDIS_URL": url})
    shared = claims(settings, Clock(), Random(0), StoreTelemetry(CollectorRegistry(), SILENT))
    assert shared is not None
    assert await shared.claim(b"s" * 32) is None
    (key,) = server.do("KEYS", "*:refresh:*")
    assert key.startswith(b"{xero-proxy:}")
    await shared.close()


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


async def test_whoever_asks_a_store_that_has_ended_is_answered(server: Server, tmp_path: Path) -> None:
    async with Replica(server.url, tmp_path) as one:
        await one.store.close()
        await one.permit()


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
