"""Revocations of tokens through the pipeline, in virtual time: what is not told any more."""

from __future__ import annotations

import pytest

from tests.inprocess import FakeCall
from tests.request.test_refreshes import ask, refresh, start
from tests.stage import Stage, answers, staged

BOTH = answers(200, body=b'{"access_token":"new","refresh_token":"next"}')


def revocation(stage: Stage, token: str, target: bytes = b"/connect/revocation") -> FakeCall:
    return FakeCall(stage.clock, "POST", target, body=f"token_type_hint=refresh_token&token={token}".encode())


@pytest.mark.parametrize("token", ["old", "next", "new"])
def test_what_was_answered_before_a_revocation_is_not_told_any_more(token: str) -> None:
    @staged(BOTH)
    async def test(stage: Stage) -> None:
        await ask(stage)
        await stage.proxy.handle(revocation(stage, token))
        assert (await ask(stage)).answer.attempts == 1
        assert len(stage.xero.sent) == 3

    test()


@staged(BOTH)
async def test_a_revocation_of_another_token_changes_nothing(stage: Stage) -> None:
    await ask(stage)
    await stage.proxy.handle(revocation(stage, "another"))
    await stage.proxy.handle(revocation(stage, "old", b"/connect/token"))
    assert (await ask(stage)).answer.attempts == 0


@staged(BOTH, seconds=5.0)
async def test_who_asks_after_a_revocation_does_not_share_a_call_that_began_before(stage: Stage) -> None:
    first = start(stage, refresh(stage))
    await stage.passes(1.0)
    revoking = start(stage, revocation(stage, "old"))
    await stage.passes(1.0)
    later = await ask(stage)
    assert later.answer.attempts == 1
    assert (await first).answer.attempts == 1
    await revoking
    assert (await ask(stage)).answer.attempts == 1, "nor is what either of them brought"
