"""Holds over real sockets: whom one stops, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxy.clock import Clock
from proxy.core.limits import holds
from proxy.core.line import turns
from tests.e2e.harness import Running, request, sidecar
from tests.sockets import OK, read_request, serving

OFFLINE = b"The Organisation is offline"
MAINTENANCE = b"The Xero API is currently offline for maintenance"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%b"
BAD_GATEWAY = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
QUICK = b"Prefer: wait=10"

Answers = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of silence is as good as five."""
    for module in (holds, turns):
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.5)


class Origin:
    """Answers each request as `answers` says, and remembers whose it was."""

    def __init__(self, answers: Answers) -> None:
        self.tenants: list[bytes] = []
        self.url = ""
        self._answers = answers

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            raw = await read_request(reader)
            self.tenants.append(raw.lower().partition(b"xero-tenant-id: ")[2].partition(b"\r\n")[0])
            await self._answers(raw, writer)


@contextlib.asynccontextmanager
async def before(answers: Answers, **settings: object) -> AsyncIterator[tuple[Running, Origin]]:
    origin = Origin(answers)
    async with serving(origin.converse) as address, sidecar(str(address), **settings) as proxy:
        yield proxy, origin


def of(tenant: str, *fields: bytes, path: str = "Contacts") -> bytes:
    line = f"GET /api.xro/2.0/{path}".encode()
    return request(line, f"Xero-Tenant-Id: {tenant}".encode(), *fields)


async def silent(writer: asyncio.StreamWriter) -> None:
    """Until somebody ends the connection."""
    await writer.wait_closed()


async def trickles(writer: asyncio.StreamWriter) -> None:
    """A good head, and then 64 KB that take longer than any test."""
    writer.write(HEAD % 65_536)
    while not writer.is_closing():
        writer.write(b"x")
        await Clock().sleep_until(Clock().now() + 0.2)


@pytest.mark.parametrize("slowly", [silent, trickles])
async def test_a_slow_probe_keeps_nobody_for_long(
    slowly: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """After maintenance the first call hangs, or brings a good head and then hardly anything."""
    down = True

    async def answers(raw: bytes, writer: asyncio.StreamWriter) -> None:
        if down:
            writer.write(UNAVAILABLE % (len(MAINTENANCE), MAINTENANCE))
        elif b"slow" in raw:
            await slowly(writer)
        else:
            writer.write(OK)

    async with before(answers) as (proxy, origin):
        first = proxy.start(of("t1", path="slow"))
        while not origin.tenants:
            await proxy.passes(0.01)
        down = False
        while len(origin.tenants) < 2:  # the probe is out
            await proxy.passes(0.01)
        began = proxy.clock.now()
        others = [proxy.start(of(f"t{number}", QUICK)) for number in range(2, 12)]
        replies = await asyncio.gather(*others)
        assert [reply.status for reply in replies] == [200] * 10
        took = max(reply.at for reply in replies) - began
        assert took < 1.5
        assert (await proxy.status())["holds"] == []
        first.cancel()


async def test_whoever_comes_while_a_probe_is_silent_goes_at_once_and_a_probe_whose_caller_left_is_none() -> (
    None
):
    held = True

    async def answers(raw: bytes, writer: asyncio.StreamWriter) -> None:
        if held:
            writer.write(UNAVAILABLE % (len(MAINTENANCE), MAINTENANCE))
        elif b"hangs" in raw:
            await silent(writer)
        else:
            writer.write(OK)

    async with before(answers) as (proxy, origin):
        async with proxy.caller() as leaving:
            leaving.writer.write(of("t1", path="hangs"))
            while not origin.tenants:
                await proxy.passes(0.01)
            held = False
            while len(origin.tenants) < 2:
                await proxy.passes(0.01)
            waiting = proxy.start(of("t2", QUICK, path="hangs"))
            await proxy.passes(0.1)
            assert origin.tenants[2:] == []
            leaving.leave()
            while len(origin.tenants) < 3:  # the next one goes, and hangs too
                await proxy.passes(0.01)
        await proxy.passes(0.6)
        began = proxy.clock.now()
        reply = await proxy.ask(of("t3", b"Prefer: wait=0"))
        assert (reply.status, reply.at - began < 1.0) == (200, True)
        waiting.cancel()


async def test_a_report_is_no_probe_where_another_waits() -> None:
    down = True

    async def answers(_raw: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(UNAVAILABLE % (len(MAINTENANCE), MAINTENANCE) if down else OK)

    async with before(answers, retry_backoff_seconds=2.0) as (proxy, origin):
        report = proxy.start(of("t1", path="Reports/ProfitAndLoss"))
        while not origin.tenants:
            await proxy.passes(0.01)
        await proxy.passes(0.1)
        down = False
        other = proxy.start(of("t2"))
        assert [reply.status for reply in await asyncio.gather(report, other)] == [200, 200]
        assert origin.tenants == [b"t1", b"t2", b"t1"]


async def test_one_organisation_that_fails_again_and_again_slows_no_other() -> None:
    async def answers(raw: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(BAD_GATEWAY if b"Report" in raw else OK)

    async with before(answers, retry_attempts=1) as (proxy, origin):
        for _ in range(5):
            assert (await proxy.ask(of("t1", path="Reports/x"))).status == 504
        for _ in range(10):
            failing = proxy.start(of("t1", b"Prefer: wait=0", path="Reports/x"))
            began = proxy.clock.now()
            reply = await proxy.ask(of("t2", b"Prefer: wait=0"))
            assert (reply.status, reply.at - began < 0.5) == (200, True)
            await failing
        (hold,) = (await proxy.status())["holds"]
        named = {"scope": "tenant_api", "app": "default", "tenant": "t1", "api": "accounting"}
        assert named.items() <= hold.items()
        assert hold["reason"] == "failing"
        assert await proxy.count("hold_seconds", tenant="t1", reason="failing") >= 0
        assert origin.tenants.count(b"t2") == 10
    assert {line["scope"] for line in proxy.lines("hold")} == {"tenant_api"}


async def test_an_organisation_that_is_offline_in_a_long_slow_answer_is_asked_once() -> None:
    body = OFFLINE + b" " * 90_000

    async def answers(_raw: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(UNAVAILABLE % (len(body), body[:80_000]))
        await silent(writer)

    async with before(answers) as (proxy, origin):
        for _ in range(2):
            reply = await proxy.ask(of("t1", b"Prefer: wait=2"))
            assert (reply.status, reply.body[: len(OFFLINE)]) == (503, OFFLINE)
        assert origin.tenants == [b"t1"]


async def test_what_a_slow_answer_means_counts_before_its_end() -> None:
    """The beginning says that the organisation is offline; the rest does not come."""

    async def answers(_raw: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(UNAVAILABLE % (90_000, OFFLINE))
        await silent(writer)

    async with before(answers) as (proxy, origin):
        asking = proxy.start(of("t1"))
        while not (await proxy.status())["holds"]:
            await proxy.passes(0.05)
        later = await proxy.ask(of("t1", b"Prefer: wait=2"))
        assert later.class_ == "refused_offline"
        assert len(origin.tenants) == 1
        (tenant,) = (await proxy.status())["tenants"]
        assert tenant["in_flight"] == 1, "its place is taken until its last byte has come"
        asking.cancel()


async def test_where_xeros_host_refuses_connections_one_request_at_a_time_finds_out() -> None:
    async with sidecar("http://127.0.0.1:9", retry_backoff_max_seconds=60, retry_backoff_seconds=60) as proxy:
        first = proxy.start(of("t1", QUICK))
        while not (holds := (await proxy.status())["holds"]):
            await proxy.passes(0.01)
        assert [(hold["scope"], hold["reason"]) for hold in holds] == [("host", "failing")]
        replies = await asyncio.gather(first, *(proxy.ask(of(f"t{n}", b"Prefer: wait=0")) for n in range(5)))
        assert {reply.class_ for reply in replies} == {"connect_failed"}
        assert {reply.attempts for reply in replies} == {0}
    assert len([line for line in proxy.lines() if line["attempts"]]) == 1
