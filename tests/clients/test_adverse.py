"""All that integrations do, at limits, offline, in maintenance, with lost replies and with expired tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from proxy.simulator.faults import FaultKind
from tests.clients.driver import TENANT
from tests.clients.matrix import CANNOT, clients
from tests.clients.stage import Stage, stage

FIVE_MEGABYTES = 5 * 1024 * 1024
SHORT_SECONDS = 0.3
TIGHT: dict[str, Any] = {"minute_limit": 6, "concurrent_limit": 2, "latency": (0.02, 0.05)}
PATIENT: dict[str, Any] = {"retry_backoff_seconds": 1, "retry_attempts": 10}

Do = Callable[..., Awaitable[dict[str, Any]]]


async def everyday(play: Stage, do: Do) -> None:
    """Every step comes to its end, and every write is carried out once."""
    content = Random(0).randbytes(FIVE_MEGABYTES)
    file = play.folder / "file.bin"
    file.write_bytes(content)
    same = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    play.has_contacts(120)
    written = play.executed("/api.xro/2.0/contacts")
    assert (await do("page", 2))["count"] == 20
    contact = (await do("create", "Ada Lovelace"))["id"]
    assert (await do("update", contact, "Ada King"))["name"] == "Ada King"
    assert play.executed("/api.xro/2.0/contacts") == written + 2
    if (play.client, "where") not in CANNOT:
        assert (await do("where", 'Name=="Contact 7"'))["count"] == 1
    bill = (await do("bill", "July"))["id"]
    if (play.client, "attachment") not in CANNOT:
        assert await do("upload", bill, file) == same
        assert await do("download", bill) == same
        assert play.executed(f"/api.xro/2.0/invoices/{bill}/attachments") == 1
    assert (await do("connections"))["count"] >= 1
    assert play.executed("/api.xro/2.0/invoices") == 1 + ((play.client, "attachment") not in CANNOT)


@pytest.mark.parametrize("client", clients("at_limits"))
async def test_at_its_limits_everything_waits_and_succeeds(client: str) -> None:
    async with stage(client, TIGHT, tenant_minute_limit=6, tenant_concurrent_limit=2) as play:
        await everyday(play, play.does)
        assert not play.simulator.refused


@pytest.mark.parametrize("client", clients("again_offline"))
async def test_offline_before_each_step_everything_waits_and_succeeds(client: str) -> None:
    async with stage(client) as play:

        async def do(*step: object) -> dict[str, Any]:
            play.simulator.offline(TENANT, SHORT_SECONDS)
            return await play.does(*map(str, step))

        await everyday(play, do)


@pytest.mark.parametrize("client", clients("again_maintenance"))
async def test_in_maintenance_before_each_step_everything_waits_and_succeeds(client: str) -> None:
    async with stage(client, **PATIENT) as play:

        async def do(*step: object) -> dict[str, Any]:
            play.simulator.maintenance(SHORT_SECONDS)
            return await play.does(*map(str, step))

        await everyday(play, do)


@pytest.mark.parametrize("client", clients("again_lost"))
async def test_with_the_first_reply_to_each_step_lost_everything_succeeds_once(client: str) -> None:
    async with stage(client) as play:

        async def do(*step: object) -> dict[str, Any]:
            play.simulator.fail_next(1, FaultKind.LOST_REPLY, tenant=TENANT)
            return await play.does(*map(str, step))

        await everyday(play, do)


@pytest.mark.parametrize("client", clients("again_expired"))
async def test_with_a_token_that_expires_before_each_step_a_new_one_is_all_it_takes(client: str) -> None:
    async with stage(client) as play:

        async def do(*step: object) -> dict[str, Any]:
            play.simulator.expire_tokens()
            await play.is_refused(401, *map(str, step))
            assert (await play.does("refresh"))["changed"] is True
            return await play.does(*map(str, step))

        await play.does("page", 1)  # no token that Xero has never seen expires
        await everyday(play, do)
