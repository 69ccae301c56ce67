"""Replies that get lost or break off, with the simulator's ledger as the witness of what was written."""

from __future__ import annotations

import asyncio

import pytest

from proxy.simulator.faults import FaultKind
from tests.clients.driver import AT_ONCE_SECONDS, TENANT
from tests.clients.matrix import clients
from tests.clients.stage import assert_refused, stage

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("client", clients("lost"))
async def test_a_lost_reply_is_made_up_for_and_the_write_done_once(client: str) -> None:
    async with stage(client) as play:
        for method, step in (("GET", ("page", 1)), ("PUT", ("bill", "July"))):
            play.simulator.fail_next(1, FaultKind.LOST_REPLY, method=method, tenant=TENANT)
            assert (await play.step(*step)).ok
        assert play.executed("/api.xro/2.0/invoices") == 1
        assert len(play.entries("/api.xro/2.0/invoices")) == 2


@pytest.mark.parametrize("client", clients("cut"))
async def test_a_file_that_broke_off_is_no_file(client: str) -> None:
    async with stage(client) as play:
        file = play.folder / "file.bin"
        file.write_bytes(bytes(MEGABYTE))
        bill = (await play.does("bill", "July"))["id"]
        await play.does("upload", bill, file)
        play.simulator.fail_next(1, FaultKind.TRUNCATE, method="GET", tenant=TENANT)
        told = await play.step("download", bill)
        assert not told.crashed
        if client == "xero-python":  # it gets the file again by itself
            assert told.value["bytes"] == MEGABYTE
        else:
            assert not told.ok


@pytest.mark.parametrize("client", clients("unknown"))
async def test_a_write_of_unknown_outcome_is_told_and_never_repeated(client: str) -> None:
    async with stage(client, idempotency="false") as play:
        play.simulator.fail_next(1, FaultKind.LOST_REPLY, method="PUT", tenant=TENANT)
        told = await play.is_refused(502, "bill", "July")
        assert told.seconds < AT_ONCE_SECONDS
        assert len(play.entries("/api.xro/2.0/invoices")) == play.executed("/api.xro/2.0/invoices") == 1


@pytest.mark.parametrize("client", clients("drained"))
async def test_a_write_that_the_sidecar_does_not_live_to_see_is_told_and_never_repeated(client: str) -> None:
    async with stage(client, {"latency": (5.0, 5.0)}) as play:
        told = asyncio.create_task(play.step("bill", "July"))
        while not play.entries("/api.xro/2.0/invoices"):
            await play.sidecar.passes(0.02)
        await play.sidecar.stop()
        assert_refused(client, await told, 502)
        assert len(play.entries("/api.xro/2.0/invoices")) == play.executed("/api.xro/2.0/invoices") == 1


@pytest.mark.parametrize("client", clients("large"))
async def test_a_body_that_is_too_large_is_told(client: str) -> None:
    async with stage(client, max_body_bytes=MEGABYTE) as play:
        file = play.folder / "file.bin"
        file.write_bytes(bytes(5 * MEGABYTE))
        bill = (await play.does("bill", "July"))["id"]
        await play.is_refused(413, "upload", bill, file)
        assert len(play.entries(f"/api.xro/2.0/invoices/{bill}")) == 0
