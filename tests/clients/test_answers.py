"""Every answer of the proxy's own, as each client's error handling takes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.answers.answers import failed, refused
from proxy.core.model import Limit
from tests.clients.driver import AT_ONCE_SECONDS, driver
from tests.clients.matrix import clients
from tests.clients.replies import every_answer, replies
from tests.clients.stage import assert_refused


@pytest.mark.parametrize("client", clients("answers"))
async def test_every_answer_is_an_error_that_the_client_knows(client: str, tmp_path: Path) -> None:
    answers = list(every_answer())
    assert len(answers) > 25
    async with replies() as server, driver(client, server.url, tmp_path) as process:
        for server.answer in answers:
            for step in (("page", 1), ("bill", "July")):
                server.calls = 0
                assert_refused(client, await process.step(*step), server.answer.status)
                assert server.calls == 1, (server.answer.name, step)


@pytest.mark.parametrize("client", clients("answers"))
async def test_every_answer_to_a_refresh_is_an_error_that_the_client_knows(
    client: str, tmp_path: Path
) -> None:
    async with replies() as server, driver(client, server.url, tmp_path) as process:
        for answer in every_answer():
            server.token_answer = answer
            told = await process.step("refresh")
            assert not told.ok
            assert not told.crashed, (answer.name, told)


@pytest.mark.parametrize("client", clients("answers"))
async def test_nobody_sleeps_on_an_answer_for_longer_than_it_says(client: str, tmp_path: Path) -> None:
    async with replies() as server, driver(client, server.url, tmp_path) as process:
        server.answer = refused("", Limit.MINUTE, 1.0, "then")
        told = await process.step("page", 1)
        assert_refused(client, told, 429)
        assert told.seconds < AT_ONCE_SECONDS
        assert server.calls == (4 if client == "xero-python" else 1)


async def test_a_client_that_repeats_a_write_would_be_found(tmp_path: Path) -> None:
    """xero-python does so with an answer that says when."""
    answer = failed("outcome_unknown")
    async with replies() as server, driver("xero-python", server.url, tmp_path) as process:
        server.answer = replace(answer, status=503, retry_after=0)
        assert not (await process.step("bill", "July")).ok
        assert server.calls == 4
