"""What every integration does, with nothing wrong."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from tests.clients.matrix import clients
from tests.clients.stage import stage

FIVE_MEGABYTES = 5 * 1024 * 1024


@pytest.mark.parametrize("client", clients("pages"))
async def test_it_reads_page_by_page(client: str) -> None:
    async with stage(client) as play:
        play.has_contacts(250)
        assert [(await play.does("page", page))["count"] for page in (1, 2, 3)] == [100, 100, 50]
        assert len(play.entries("/api.xro/2.0/contacts", "GET")) == 3


@pytest.mark.parametrize("client", clients("saves"))
async def test_it_creates_and_updates(client: str) -> None:
    async with stage(client) as play:
        contact = (await play.does("create", "Ada Lovelace"))["id"]
        assert (await play.does("update", contact, "Ada King"))["name"] == "Ada King"
        assert play.executed("/api.xro/2.0/contacts") == 2


@pytest.mark.parametrize("client", clients("attachment"))
async def test_five_megabytes_go_up_and_come_down_again(client: str) -> None:
    content = Random(0).randbytes(FIVE_MEGABYTES)
    same = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    async with stage(client) as play:
        file = play.folder / "file.bin"
        file.write_bytes(content)
        bill = (await play.does("bill", "July"))["id"]
        assert await play.does("upload", bill, file) == same
        assert await play.does("download", bill) == same


@pytest.mark.parametrize("client", clients("where"))
async def test_it_filters(client: str) -> None:
    async with stage(client) as play:
        play.has_contacts(20)
        assert (await play.does("where", 'Name=="Contact 7"'))["count"] == 1


@pytest.mark.parametrize("client", clients("connections"))
async def test_it_lists_its_connections(client: str) -> None:
    async with stage(client) as play:
        play.has_contacts(1)
        assert (await play.does("connections"))["count"] == 1
        spellings = {each.path for each in play.entries("/connections")}
        expected = {"xero-python": {"/Connections"}, "requests": {"/connections", "/Connections"}}
        expected |= {"httpx": expected["requests"], "curl": expected["requests"]}
        assert spellings == expected.get(client, {"/connections"})


@pytest.mark.parametrize("client", clients("refresh"))
async def test_it_refreshes_its_token(client: str) -> None:
    async with stage(client) as play:
        assert (await play.does("refresh"))["changed"] is True
        assert [each.status for each in play.entries("/connect/token")] == [200]
        assert (await play.step("page", 1)).ok
