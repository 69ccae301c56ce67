"""What operators see of 20,000 organisations is made in steps: no turn of the loop is long, and all of it
costs in proportion to the organisations. Calls of functions are counted: no machine is too slow for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from math import inf
from types import FrameType

import orjson
import pytest

from proxy.admin.page import ROWS_MAX
from proxy.app import Sidecar
from proxy.clock import Clock
from proxy.core.limits.accounts import TENANTS_KEPT
from proxy.core.limits.decision import Ask, Settlement
from proxy.core.line.lines import Ticket
from tests.e2e.harness import sidecar
from tests.strict_xero import OFFLINE, OK

FEW = 2000
MOST_IN_A_TURN = 40_000
"""So many calls of functions, most of them Python's own, take some 10 ms."""


class Steps:
    """Counts calls of functions, in each turn of the event loop and in all."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.all = self.most = self._now = 0

    @contextlib.asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        turns = asyncio.create_task(self._turns())
        await self._clock.sleep_until(0.0)
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(None)
            turns.cancel()

    def _called(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event in {"call", "c_call"}:
            self._now += 1

    async def _turns(self) -> None:
        while True:
            self.most = max(self.most, self._now)
            self.all += self._now
            self._now = 0
            await self._clock.sleep_until(0.0)


async def know(car: Sidecar, organisations: int) -> None:
    """Let it have called so many organisations, each with an app of its own; every second one is offline."""
    for number in range(organisations):
        ticket = Ticket(Ask(f"app-{number}", f"t{number}", "accounting"), 0.0, inf)
        permit = car.scheduler.take(ticket)
        assert permit is not None
        row = OFFLINE if number % 2 else OK
        await car.scheduler.settle(permit, Settlement(row, sent=True, head_at=permit.granted_at))


async def asked(path: str, organisations: int) -> tuple[Steps, bytes]:
    steps = Steps()
    async with sidecar("http://127.0.0.1:1") as running:
        await know(running.car, organisations)
        async with steps.counted():
            text = await running.admin(path)
    return steps, text


@pytest.mark.parametrize("path", ["/metrics", "/status", "/status?page"])
async def test_no_turn_of_the_loop_is_long_and_the_cost_is_linear(path: str) -> None:
    few, _ = await asked(path, FEW)
    many, text = await asked(path, TENANTS_KEPT)
    assert many.most < MOST_IN_A_TURN
    assert many.all < 1.3 * few.all * TENANTS_KEPT / FEW
    if path == "/status":
        assert len(orjson.loads(text)["tenants"]) == TENANTS_KEPT
    if path == "/status?page":
        shown = orjson.loads(text)
        assert shown["totals"]["organisations"] == TENANTS_KEPT
        assert max(map(len, (shown["rows"], shown["holds"], shown["apps"]))) == ROWS_MAX
