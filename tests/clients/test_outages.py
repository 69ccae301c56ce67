"""Outages that are waited out, and those that cannot be."""

from __future__ import annotations

import pytest

from proxy.core.answers.answers import OWN
from tests.clients.driver import AT_ONCE_SECONDS, TENANT
from tests.clients.matrix import clients
from tests.clients.stage import stage


@pytest.mark.parametrize("client", clients("offline"))
async def test_a_short_offline_organisation_is_waited_for(client: str) -> None:
    async with stage(client) as play:
        assert (await play.step("page", 1)).ok
        play.simulator.offline(TENANT, 0.8)
        assert (await play.step("page", 1)).ok
        assert (await play.step("bill", "July")).ok
        assert {503, 200} == {each.status for each in play.entries("/api.xro/2.0/contacts", "GET")}
        assert play.executed("/api.xro/2.0/invoices") == 1


@pytest.mark.parametrize("client", clients("offline_for_long"))
async def test_a_long_offline_organisation_is_told_in_xeros_own_words(client: str) -> None:
    async with stage(client, max_wait_seconds=1) as play:
        play.simulator.offline(TENANT)
        for step in (("page", 1), ("bill", "July")):
            told = await play.is_refused(503, *step)
            assert told.seconds < AT_ONCE_SECONDS  # xero-python has slept on three answers before it says so
            assert told.status is None or told.text == OWN["refused_offline"].says
        assert play.executed("/api.xro/2.0/invoices") == 0


@pytest.mark.parametrize("client", clients("maintenance"))
async def test_maintenance_is_waited_for(client: str) -> None:
    async with stage(client, retry_backoff_seconds=1, retry_attempts=10) as play:
        assert (await play.step("page", 1)).ok
        play.simulator.maintenance(0.5)
        assert (await play.step("page", 1)).ok
        assert (await play.step("bill", "July")).ok
        assert play.executed("/api.xro/2.0/invoices") == 1
