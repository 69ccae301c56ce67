"""Limits and holds over real sockets, in virtual time: who waits, who is refused, and with which words."""

from __future__ import annotations

import asyncio

import pytest

from proxy.simulator.windows import WindowKind
from tests.e2e.harness import Reply, both, request, sidecar
from tests.inprocess import token
from tests.sockets import origin

pytestmark = pytest.mark.looptime
OFFLINE = b"The Organisation is offline"


def of(tenant: bytes, *fields: bytes) -> bytes:
    return request(b"GET /api.xro/2.0/Contacts", b"Xero-Tenant-Id: " + tenant, *fields)


def refused(reply: Reply, limit: bytes, *, least: int, most: int) -> None:
    """A 429 that the proxy made before anything was sent."""
    assert (reply.status, reply.attempts) == (429, 0)
    assert reply.class_ == f"refused_{limit.decode()}"
    assert reply.field(b"x-rate-limit-problem") == limit
    assert reply.wait is not None
    assert least <= reply.wait <= most
    assert f"could be sent in {reply.wait} s, at 20" in reply.problem["detail"]
    assert b"error=http_request_denied" in (reply.field(b"proxy-status") or b"")


@pytest.mark.parametrize("windows", list(WindowKind))
async def test_a_backlog_runs_at_the_limit_without_one_429(windows: WindowKind) -> None:
    options = {"windows": windows, "latency": (0.05, 0.3), "jitter": 0.15}
    async with both(options, max_wait_seconds=300) as (proxy, simulator):
        began = proxy.clock.now()
        replies = await asyncio.gather(*(proxy.ask(request()) for _ in range(180)))
        spent = proxy.clock.now() - began
        assert {reply.status for reply in replies} == {200}
        assert simulator.refused == {}
        assert simulator.peak_rolling("t1") <= 60
        assert simulator.peak_concurrent("t1") == 5
    assert spent < 125
    waited = [line for line in proxy.lines() if line["limit"] == "minute"]
    assert len(waited) >= 115


async def test_minute_and_day_are_refused_at_once_where_they_cannot_be_met_in_time() -> None:
    options = {"minute_limit": 3, "day_limit": 5}
    async with both(options, tenant_minute_limit=3, tenant_day_limit=5, max_wait_seconds=5) as (
        proxy,
        simulator,
    ):
        for _ in range(3):
            assert (await proxy.ask(request())).status == 200
        began = proxy.clock.now()
        refused(await proxy.ask(request()), b"minute", least=59, most=61)
        assert proxy.clock.now() == began
        await proxy.passes(61)
        for _ in range(2):
            assert (await proxy.ask(request())).status == 200
        reply = await proxy.ask(request(b"GET /", b"Prefer: wait=0"))
        assert (reply.status, reply.class_, reply.attempts) == (429, "refused_day", 0)
        assert proxy.lines()[-1]["limit"] == "day", "what refuses at once is named like what is waited for"
        assert reply.field(b"x-rate-limit-problem") == b"day"
        assert (await proxy.ask(of(b"t2"))).status == 200
        assert simulator.refused == {}
        assert await proxy.count("shed_total", reason="hopeless") == 2


async def test_the_apps_limit_counts_over_organisations_and_other_apps_have_their_own() -> None:
    fresh = b"Authorization: Bearer e30.eyJjbGllbnRfaWQiOiJvdGhlciJ9.x"
    options = {"app_minute_limit": 2}
    async with both(options, app_minute_limit=2, max_wait_seconds=5) as (proxy, simulator):
        assert (await proxy.ask(of(b"t1"))).status == (await proxy.ask(of(b"t2"))).status == 200
        refused(await proxy.ask(of(b"t3")), b"appminute", least=59, most=61)
        connections = await proxy.ask(request(b"GET /connections"))
        refused(connections, b"appminute", least=59, most=61)
        assert (await proxy.ask(of(b"t3", fresh))).status == 200
        assert simulator.refused == {}


async def test_who_waits_for_a_slot_until_its_deadline_is_refused_for_concurrency() -> None:
    async with both({"latency": (30.0, 30.0)}, tenant_concurrent_limit=2) as (proxy, simulator):
        busy = [proxy.start(request()) for _ in range(2)]
        await proxy.passes(1.0)
        began = proxy.clock.now()
        reply = await proxy.ask(request(b"GET /", b"Prefer: wait=3"))
        assert proxy.clock.now() - began == pytest.approx(3.0, abs=0.01)
        refused(reply, b"concurrent", least=1, most=30)
        assert {each.status for each in await asyncio.gather(*busy)} == {200}
        assert simulator.refused == {}


async def test_a_full_queue_refuses_at_once() -> None:
    options = {"latency": (30.0, 30.0), "concurrent_limit": 1}
    async with both(options, tenant_concurrent_limit=1, queue_limit=2) as (proxy, _):
        busy = [proxy.start(request()) for _ in range(3)]
        await proxy.passes(1.0)
        reply = await proxy.ask(request())
        assert (reply.class_, reply.attempts) == ("queue_full", 0)
        assert reply.wait is not None
        assert (await proxy.ask(of(b"t2"))).status == 200
        assert {each.status for each in await asyncio.gather(*busy)} == {200}


async def test_the_more_urgent_go_first() -> None:
    async with both({"latency": (1.0, 1.0), "concurrent_limit": 1}, tenant_concurrent_limit=1) as (
        proxy,
        sim,
    ):
        tasks = []
        for place, urgency in enumerate((b"3", b"7", b"3", b"0")):
            tasks.append(proxy.start(request(b"GET /api.xro/2.0/%d" % place, b"Priority: u=" + urgency)))
            await proxy.passes(0.01)
        await asyncio.gather(*tasks)
        order = [entry.path[-1] for entry in sim.ledger.entries]
    assert order == ["0", "3", "2", "1"]


@pytest.mark.parametrize("path", [b"/connections", b"/Connections"])
async def test_connections_take_only_the_apps_limit(path: bytes) -> None:
    async with both(None, tenant_minute_limit=1, max_wait_seconds=1) as (proxy, _):
        for _ in range(3):
            assert (await proxy.ask(request(b"GET " + path))).status == 200
        assert (await proxy.status())["tenants"] == []


async def test_an_empty_tenant_is_the_app_itself() -> None:
    custom = b"Authorization: " + token("custom")  # a custom connection's, which names no user
    mine = request(b"GET /api.xro/2.0/Contacts", b"Xero-Tenant-Id:", custom)
    async with both(None, tenant_minute_limit=1, max_wait_seconds=1) as (proxy, _):
        assert (await proxy.ask(mine)).status == 200
        assert (await proxy.ask(mine)).class_ == "refused_minute"
        assert (await proxy.ask(of(b"t1"))).status == 200


async def test_an_offline_organisation_is_held_for_all_and_one_probe_ends_it() -> None:
    async with both({"latency": (0.1, 0.1), "concurrent_limit": 1}, tenant_concurrent_limit=1) as (
        proxy,
        sim,
    ):
        sim.offline("t1")
        crowd = [proxy.start(request()) for _ in range(20)]
        replies = await asyncio.gather(*crowd)
        for reply in replies:
            assert (reply.status, reply.body) == (503, OFFLINE)
            assert (reply.field(b"content-type") or b"").startswith(b"text/plain")
            assert reply.wait in {300, 301}
            assert reply.class_ == "refused_offline"
        assert sorted(reply.attempts for reply in replies) == [0] * 19 + [1]
        await proxy.passes(100)
        assert (await proxy.ask(request())).wait in {200, 201}
        assert (await proxy.ask(of(b"t2"))).status == 200
        assert sum(entry.tenant == "t1" for entry in sim.ledger.entries) == 1
        sim.online("t1")
        patient = [proxy.start(request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=600")) for _ in range(8)]
        await proxy.passes(199)
        assert sum(entry.tenant == "t1" for entry in sim.ledger.entries) == 1
        assert {reply.status for reply in await asyncio.gather(*patient)} == {200}
        late = [entry.time for entry in sim.ledger.entries if entry.tenant == "t1"][1:]
        assert late[1] - late[0] >= 0.099
        assert sim.refused == {}
    assert [line["action"] for line in proxy.lines("hold")] == ["begun", "ended"]


async def test_a_probe_that_finds_it_still_offline_holds_the_others_again() -> None:
    async with both({"latency": (0.1, 0.1)}) as (proxy, sim):
        sim.offline("t1")
        assert (await proxy.ask(request())).body == OFFLINE
        crowd = [proxy.start(request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=1000")) for _ in range(6)]
        await proxy.passes(400)
        assert sim.ledger.arrived == 2
        sim.online("t1")
        assert {reply.status for reply in await asyncio.gather(*crowd)} == {200}


async def test_a_429_of_somebody_elses_making_is_obeyed_once_for_all() -> None:
    async with both({"minute_limit": 10, "latency": (0.1, 0.1)}, tenant_minute_limit=10) as (proxy, sim):
        for _ in range(10):
            sim.foreign_call("t1")
        replies = await asyncio.gather(*(proxy.ask(request()) for _ in range(8)))
        assert {reply.status for reply in replies} == {200}
        assert sum(sim.refused.values()) <= 5
        assert all(reply.attempts <= 2 for reply in replies)


async def test_a_time_over_the_maximum_is_not_sent_and_the_body_says_when() -> None:
    fields = b"Retry-After: 33519\r\nX-Rate-Limit-Problem: Daily\r\nContent-Length: 0"
    day = b"HTTP/1.1 429 Too Many\r\n%b\r\n\r\n" % fields
    async with origin(day) as seen, sidecar(str(seen.address)) as proxy:
        for attempts, problem, seconds in ((1, b"Daily", 33519), (0, b"day", 33520)):
            reply = await proxy.ask(request())
            assert (reply.status, reply.attempts, reply.wait) == (429, attempts, None)
            assert reply.field(b"x-rate-limit-problem") == problem
            assert f"could be sent in {seconds} s, at 20" in reply.problem["detail"]
    assert len(seen.requests) == 1


async def test_a_503_body_holds_no_equals_sign() -> None:
    gone = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    async with origin(gone) as seen, sidecar(str(seen.address)) as proxy:
        replies = [await proxy.ask(request(b"GET /a=b?c=d", b"Prefer: wait=0")) for _ in range(9)]
        held = [reply for reply in replies if reply.status == 503]
    assert held
    assert {reply.class_ for reply in held} == {"refused_failing"}
    assert not any(b"=" in reply.body for reply in held)
    assert len(seen.requests) < 9
