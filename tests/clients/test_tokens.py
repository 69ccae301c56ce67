"""Tokens that end."""

from __future__ import annotations

import pytest

from tests.clients.matrix import clients
from tests.clients.stage import stage


@pytest.mark.parametrize("client", clients("expired"))
async def test_an_expired_token_is_told_and_a_new_one_goes_through(client: str) -> None:
    async with stage(client) as play:
        assert (await play.step("page", 1)).ok
        play.simulator.expire_tokens()
        told = await play.is_refused(401, "page", 1)
        assert "TokenExpired" in told.text
        assert (await play.does("refresh"))["changed"] is True
        assert (await play.step("page", 1)).ok
