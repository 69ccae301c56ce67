"""Callers that know nothing of limits, at limits."""

from __future__ import annotations

import pytest

from tests.clients.driver import AT_ONCE_SECONDS, TENANT
from tests.clients.matrix import clients
from tests.clients.stage import stage


@pytest.mark.parametrize("client", clients("limits"))
async def test_as_fast_as_it_can_it_meets_no_429(client: str) -> None:
    limits = {"minute_limit": 12, "concurrent_limit": 3, "latency": (0.05, 0.1)}
    async with stage(client, limits, tenant_minute_limit=12, tenant_concurrent_limit=3) as play:
        assert await play.does("burst", 30) == {"done": 30, "failed": []}
        assert not play.simulator.refused
        assert play.simulator.peak_rolling(TENANT) <= 12
        assert play.simulator.peak_concurrent(TENANT) == 3


@pytest.mark.parametrize("client", clients("day"))
async def test_a_spent_day_is_told_at_once(client: str) -> None:
    async with stage(client, {"day_limit": 2}, tenant_day_limit=5) as play:
        assert (await play.step("page", 1)).ok
        assert (await play.step("page", 1)).ok
        told = await play.is_refused(429, "page", 1)
        assert told.seconds < AT_ONCE_SECONDS
        if client == "xero-python":
            assert told.value["limit"] == "day"
