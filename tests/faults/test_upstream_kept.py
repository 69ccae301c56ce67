"""Upstream: kept connections"""

from __future__ import annotations

import pytest

from tests.e2e.harness import Reply, put, request, sidecar
from tests.faults.meeting import RESET, is_well
from tests.faults.origin import WRITES, Act, Ledger, Then, misbehaving
from tests.sockets import OK

pytestmark = pytest.mark.looptime
METHODS = ("GET", "HEAD", "OPTIONS", "DELETE", *sorted(WRITES))


def of(method: str) -> bytes:
    return request(method.encode() + b" /api.xro/2.0/second", body=b"{}" if method in WRITES else None)


@pytest.mark.parametrize("pushed", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret", b"x"])
@pytest.mark.parametrize("before", [True, False])
async def test_bytes_pushed_on_an_idle_connection(pushed: bytes, *, before: bool) -> None:
    """They never reach another caller: the connection is closed and the next request takes a new one, even
    when they arrive in the same instant as that.
    """
    async with (
        misbehaving() as ledger,
        sidecar(str(ledger.address)) as proxy,
        proxy.caller() as caller,
    ):
        assert (await caller.ask(put())).body == b"ok"
        for turn in range(1, 4):
            idle = ledger.writers[-1]
            if before:
                idle.write(pushed)
            caller.writer.write(put())
            if not before:
                idle.write(pushed)
            assert (await caller.reply()).body == b"ok"
            assert (len(ledger.writers), ledger.executed("PUT")) == (turn + 1, turn + 1)
        await is_well(proxy, spent=4)
    assert {line["class"] for line in proxy.lines()} == {"success"}


@pytest.mark.parametrize("before", [True, False])
async def test_empty_lines_pushed_on_an_idle_connection(*, before: bool) -> None:
    """They mean nothing (RFC 9112, 2.2), whether the connection is used again or not."""
    async with (
        misbehaving() as ledger,
        sidecar(str(ledger.address)) as proxy,
        proxy.caller() as caller,
    ):
        for turn in range(1, 4):
            caller.writer.write(put())
            if turn > 1 and not before:
                ledger.writers[-1].write(b"\r\n")
            assert (await caller.reply()).body == b"ok"
            assert ledger.executed("PUT") == turn
            if before:
                ledger.writers[-1].write(b"\r\n")
        await is_well(proxy, spent=3)
    assert {line["class"] for line in proxy.lines()} == {"success"}


async def race(method: str, act: Act, **settings: object) -> tuple[Reply, Ledger]:
    """A good request, and then one of `method` on the same connection, which meets `act`."""
    async with misbehaving(Act(), act) as ledger, sidecar(str(ledger.address), **settings) as proxy:
        assert (await proxy.ask(request(b"GET /first"))).status == 200
        reply = await proxy.ask(of(method))
        await is_well(proxy)
    first, *raced, _ = (raw.split(b" HTTP")[0] for raw in ledger.requests)
    assert (first, set(raced)) == (b"GET /first", {method.encode() + b" /api.xro/2.0/second"})
    assert len(raced) == reply.attempts
    assert len(ledger.keys() - {""}) <= 1
    return reply, ledger


RACES = pytest.mark.parametrize(
    "act",
    [
        Act(b"", Then.CLOSE),
        Act(b"", Then.RESET),
        Act(b"", Then.CLOSE, executes=False),
        Act(b"", Then.RESET, executes=False),
    ],
)


@RACES
@pytest.mark.parametrize("method", METHODS)
async def test_kept_connection_that_closes_under_a_request(method: str, act: Act) -> None:
    """Nothing is sent again but by the rules, whether the request was executed or not: a read or DELETE is
    repeated and counted, a write executed once under one key.
    """
    reply, ledger = await race(method, act)
    assert (reply.status, reply.attempts) == (200, 2)
    assert ledger.executed(method, "/api.xro/2.0/second") == (1 if method in WRITES else 1 + act.executes)


@RACES
@pytest.mark.parametrize("method", sorted(WRITES))
async def test_kept_connection_that_closes_under_an_unkeyed_write(method: str, act: Act) -> None:
    """Executed at most once, and told as 502 `outcome_unknown`."""
    reply, ledger = await race(method, act, idempotency="false")
    RESET.is_told_by(reply, "outcome_unknown")
    assert (reply.attempts, ledger.executed(method, "/api.xro/2.0/second")) == (1, act.executes)


@pytest.mark.parametrize("method", METHODS)
async def test_kept_connection_that_closed_before_a_request(method: str) -> None:
    """Seen before anything is sent, so the request goes out once, on a new connection."""
    async with misbehaving(Act(OK, Then.CLOSE)) as ledger, sidecar(str(ledger.address)) as proxy:
        assert (await proxy.ask(request())).status == 200
        reply = await proxy.ask(of(method))
        assert (reply.status, reply.attempts, len(ledger.writers)) == (200, 1, 2)
        assert ledger.executed(method, "/api.xro/2.0/second") == 1
        await is_well(proxy, spent=2)
