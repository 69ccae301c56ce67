"""Refreshes among replicas, in virtual time: what becomes of a request while another one makes the call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from proxy.clock import Clock
from proxy.core.tokens.answer import TokenAnswer, pack, unpack
from proxy.core.tokens.request import token_name
from tests.fakes import run_virtual
from tests.inprocess import Setup
from tests.request.test_refreshes import INVALID_GRANT, TOKENS, ask, lost, refresh, start
from tests.request.test_revocations import revocation
from tests.stage import RESET, Stage

BODY = b'{"access_token":"theirs"}'


@dataclass
class Others:
    """Replicas one of which has the claim for `seconds`, and then an answer or nothing."""

    seconds: float = 0.0
    answer: bytes | None = None
    waiting: int = 0
    concluded: list[tuple[bytes | None, float]] = field(default_factory=list)
    revocations: dict[bytes, float] = field(default_factory=dict)

    async def claim(self, secret: bytes) -> bytes | None:
        assert len(secret) == 32
        clock = Clock()
        self.waiting += 1
        try:
            await clock.sleep_until(clock.now() + self.seconds)
        finally:
            self.waiting -= 1
        return self.answer

    def conclude(self, _secret: bytes, answer: bytes | None, seconds: float) -> None:
        self.concluded.append((answer, seconds))

    async def revoke(self, name: bytes, seconds: float) -> None:
        self.revocations[name] = seconds

    async def revoked(self, name: bytes) -> bool:
        return name in self.revocations

    async def close(self) -> None: ...


def theirs(seconds_ago: float = 0.0) -> bytes:
    return pack(TokenAnswer(200, b"OK", ((b"X", b"y"),), BODY, Clock().wall() - seconds_ago))


def test_what_another_replica_was_answered_is_the_answer_for_all_who_wait_here() -> None:
    async def run() -> None:
        stage = Stage(TOKENS, setup=Setup(claims=Others(2.0, theirs(100.0))))
        calls = await asyncio.gather(*(ask(stage) for _ in range(5)))
        assert {(call.answer.status, call.answer.body, call.answer.attempts) for call in calls} == {
            (200, BODY, 0)
        }
        assert {call.answer.field(b"x") for call in calls} == {b"y"}
        assert 99 <= int(calls[0].answer.field(b"age") or b"-1") <= 110
        assert stage.xero.sent == []
        assert stage.proxy.count("token_answers", source="replica") == 1
        assert len(stage.proxy.refreshes._kept) == 0, "the server keeps it, for no longer than it should"
        stage.proxy.is_idle()

    run_virtual(run())


def test_what_another_replica_was_answered_tells_of_the_connection_here_too() -> None:
    async def run() -> None:
        others = Others(1.0, pack(TokenAnswer(400, b"", (), b'{"error":"invalid_grant"}', Clock().wall())))
        stage = Stage(TOKENS, setup=Setup(claims=others))
        assert (await ask(stage)).answer.class_ == b"invalid_grant"
        assert lost(stage) == [("app", "", "invalid_grant")]
        others.answer = theirs(100.0)
        await ask(stage, "another")
        assert len(lost(stage)) == 1, "it was answered before the loss"
        await stage.passes(100.0)
        others.answer = theirs()
        await ask(stage, "another")
        assert lost(stage) == []

    run_virtual(run())


def test_a_call_that_is_made_here_is_concluded_with_its_answer() -> None:
    async def run() -> None:
        others = Others()
        stage = Stage(TOKENS, setup=Setup(claims=others))
        await asyncio.gather(*(ask(stage) for _ in range(5)))
        await ask(stage)
        ((packed, seconds),) = others.concluded
        told = unpack(packed or b"")
        assert told is not None
        assert (told.status, told.body, seconds) == (200, b'{"access_token":"new"}', 120.0)
        assert len(stage.xero.sent) == 1

    run_virtual(run())


def test_a_refused_token_is_told_for_seconds_and_an_unknown_outcome_not_at_all() -> None:
    async def run() -> None:
        others = Others()
        stage = Stage(RESET, INVALID_GRANT, setup=Setup(claims=others))
        await ask(stage)
        await ask(stage)
        assert [(answer is None, seconds) for answer, seconds in others.concluded] == [
            (True, 0.0),
            (False, 10.0),
        ]

    run_virtual(run())


@pytest.mark.parametrize("answer", [b"", b"nonsense"])
def test_an_answer_that_cannot_be_read_is_none(answer: bytes) -> None:
    async def run() -> None:
        stage = Stage(TOKENS, setup=Setup(claims=Others(0.0, answer)))
        assert (await ask(stage)).answer.attempts == 1

    run_virtual(run())


def test_who_waits_for_another_replica_waits_no_longer_than_it_asked_to() -> None:
    async def run() -> None:
        others = Others(300.0)
        stage = Stage(TOKENS, setup=Setup(claims=others))
        call = await ask(stage, "old", (b"Prefer", b"wait=5"))
        assert (call.answer.status, call.answer.class_) == (503, b"refused_deadline")
        assert call.answer.at == 1005.0
        await stage.passes(0.0)
        assert others.waiting == 0

    run_virtual(run())


def test_who_waits_for_another_replica_is_answered_at_the_end_of_a_drain() -> None:
    async def run() -> None:
        stage = Stage(TOKENS, setup=Setup(claims=Others(300.0)))
        handled = [start(stage, refresh(stage)) for _ in range(3)]
        await stage.passes(1.0)
        stage.proxy.pipeline.drain(stage.clock.now() + 10.0)
        late = start(stage, refresh(stage, "another"))
        calls = await asyncio.gather(*handled, late)
        assert {(call.answer.status, call.answer.class_) for call in calls} == {(503, b"draining")}
        assert {call.answer.at for call in calls} == {1011.0}
        assert stage.xero.sent == []
        stage.proxy.is_idle()

    run_virtual(run())


def test_when_the_one_that_waits_for_a_replica_leaves_the_next_one_waits_in_its_place() -> None:
    async def run() -> None:
        others = Others(10.0, theirs())
        stage = Stage(TOKENS, setup=Setup(claims=others))
        first, second = refresh(stage), refresh(stage)
        handled = [start(stage, first), start(stage, second)]
        await stage.passes(1.0)
        first.leave()
        await asyncio.gather(*handled)
        assert (first.answers, second.answer.body) == ([], BODY)
        alone = refresh(stage)
        waiting = start(stage, alone)
        await stage.passes(1.0)
        alone.leave()
        await waiting
        assert (alone.answers, others.waiting) == ([], 0)
        stage.proxy.is_idle()

    run_virtual(run())


def test_what_another_replica_was_answered_is_not_told_once_its_token_is_revoked() -> None:
    async def run() -> None:
        others = Others(answer=theirs())
        stage = Stage(TOKENS, setup=Setup(claims=others))
        assert (await ask(stage)).answer.body == BODY
        await stage.proxy.handle(revocation(stage, "theirs"))
        assert list(others.revocations) == [token_name("theirs")]
        call = await ask(stage)
        assert (call.answer.body, call.answer.attempts) == (b'{"access_token":"new"}', 1)
        others.revocations = {token_name("old"): 1.0}
        elsewhere = Stage(TOKENS, setup=Setup(claims=others))
        assert (await ask(elsewhere)).answer.attempts == 1, "the revocation went through another replica"

    run_virtual(run())
