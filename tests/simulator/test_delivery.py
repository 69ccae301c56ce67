"""Answers that are spoilt on their way, on a real socket, in virtual time."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.simulator.faults import FaultKind
from tests.simulator.calls import bill
from tests.simulator.sockets import Start, answer, connect, exchange, head, write

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(("kind", "executed"), [("reset_before", False), ("lost_reply", True)])
async def test_a_dropped_connection_gives_no_byte(start: Start, kind: str, executed: bool) -> None:
    simulator = await start()
    simulator.fail_next(1, kind)
    with pytest.raises(ConnectionResetError):
        await exchange(simulator, write())
    assert [entry.executed for entry in simulator.ledger.entries] == [executed]
    assert simulator.xero.in_progress() == 0


async def test_a_lost_reply_is_executed_exactly_once_when_its_key_is_repeated(start: Start) -> None:
    simulator = await start()
    simulator.fail_next(1, FaultKind.LOST_REPLY)
    request = write(json.dumps(bill("one")).encode(), b"Idempotency-Key: k").replace(b"Contacts", b"Invoices")
    with pytest.raises(ConnectionResetError):
        await exchange(simulator, request)
    assert (await answer(simulator, request))[0] == b"HTTP/1.1 200 OK"
    assert list(simulator.ledger.writes.values()) == [1]
    _, _, body = await answer(simulator, head(b"GET /api.xro/2.0/Invoices HTTP/1.1"))
    assert len(json.loads(body)["Invoices"]) == 1


async def test_a_truncated_answer_promises_more_than_it_sends(start: Start) -> None:
    simulator = await start()
    simulator.fail_next(1, "truncate")
    _, fields, body = await answer(simulator, write())
    assert 0 < len(body) < int(fields[b"Content-Length"])
    assert [entry.executed for entry in simulator.ledger.entries] == [True]


async def test_garbage_is_not_http(start: Start) -> None:
    simulator = await start()
    simulator.fail_next(1, "garbage")
    assert not (await exchange(simulator, head())).startswith(b"HTTP/")


async def test_a_slow_body_holds_its_concurrency_to_its_last_piece(start: Start) -> None:
    simulator = await start()
    simulator.fail_next(1, "slow_body")
    began = simulator.now()
    slow = asyncio.create_task(answer(simulator, head()))
    await simulator.clock.sleep_until(simulator.clock.now() + 6.5)
    assert simulator.xero.in_progress() == 1
    assert json.loads((await slow)[2])["Status"] == "OK"
    assert simulator.now() - began == pytest.approx(7.0, abs=0.1)
    assert simulator.xero.in_progress() == 0


async def test_a_hanging_call_ends_when_its_caller_leaves(start: Start) -> None:
    simulator = await start()
    simulator.fail_next(1, "hang")
    _, writer = await connect(simulator)
    writer.write(head())
    await simulator.clock.sleep_until(simulator.clock.now() + 10.0)
    assert simulator.xero.in_progress() == 1
    writer.close()
    await writer.wait_closed()
    await simulator.clock.sleep_until(simulator.clock.now() + 1.0)
    assert simulator.xero.in_progress() == 0


async def test_a_hanging_call_ends_when_xero_gives_up(start: Start) -> None:
    simulator = await start()
    simulator.fail_next(1, "hang")
    began = simulator.now()
    with pytest.raises(ConnectionResetError):
        await exchange(simulator, head())
    assert simulator.now() - began == pytest.approx(300.0, abs=1.0)
