"""When the log tells that a limit is spent and has room again: the pipeline in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.model import Headers, LimitChange
from proxy.http.response import Response
from proxy.http.upstream import Outbound
from proxy.waiting.spent_limits import LOOK_SECONDS
from tests.fakes import run_virtual
from tests.inprocess import FakeCall, Proxy, Setup, response

Scene = Callable[["Stage"], Coroutine[Any, Any, None]]
USUAL = Caps()


class Stage:
    """A proxy, the answers that Xero gives, and what was told of limits, each with its time."""

    def __init__(self, caps: Caps) -> None:
        self.clock = Clock()
        self.headers: Headers = ()
        self.proxy = Proxy(self.clock, self, Setup(caps))
        self.told: list[tuple[float, str, bool]] = []
        self.proxy.scheduler._spent._tell = self._note
        self.began = self.clock.now()

    async def send(self, _outbound: Outbound) -> Response:
        await self.passes(0.1)
        return response(self.clock, headers=self.headers)

    async def ask(self, *headers: tuple[bytes, bytes], body: bytes | None = None) -> int:
        method = "GET" if body is None else "POST"
        call = await self.proxy.handle(FakeCall(self.clock, method, headers=headers, body=body))
        return call.answer.status

    async def passes(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)

    def actions(self) -> list[tuple[str, bool]]:
        return [(limit, spent) for _, limit, spent in self.told]

    def _note(self, change: LimitChange) -> None:
        assert (change.app, change.tenant) == ("app", "" if change.limit == "appminute" else "t1")
        self.told.append((self.clock.now() - self.began, change.limit, change.spent))


def play(scene: Scene, caps: Caps = USUAL) -> None:
    async def played() -> None:
        stage = Stage(caps)
        await scene(stage)
        stage.proxy.scheduler.close()

    run_virtual(played())


def test_the_call_that_spends_the_minute_tells_it_and_an_idle_minute_later_there_is_room() -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(2):
            await stage.ask()
        assert stage.told == []
        await stage.ask()
        assert stage.actions() == [("minute", True)]
        await stage.passes(LOOK_SECONDS + 1)
        assert stage.actions() == [("minute", True), ("minute", False)]

    play(scene, Caps(minute=3))


def test_a_backlog_is_two_lines_however_long_it_is() -> None:
    async def scene(stage: Stage) -> None:
        assert set(await asyncio.gather(*(stage.ask((b"Prefer", b"wait=600")) for _ in range(30)))) == {200}
        await stage.passes(3 * LOOK_SECONDS)
        assert stage.actions() == [("minute", True), ("minute", False)]
        assert stage.told[1][0] - stage.told[0][0] > 8 * 60

    play(scene, Caps(minute=3, concurrent=2))


def test_calls_that_just_keep_to_the_limit_are_two_lines_a_minute_at_most() -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(60):
            await stage.ask((b"Prefer", b"wait=600"))
            await stage.passes(10.5)
        assert 1 <= len(stage.told) <= 2 * 11

    play(scene, Caps(minute=6))


@pytest.mark.parametrize("body", [None, b"{}"])
def test_a_day_is_spent_until_xero_says_otherwise(body: bytes | None) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(2):
            await stage.ask()
        assert await stage.ask((b"Prefer", b"wait=1"), body=body) == 429
        assert stage.actions() == [("day", True)]
        await stage.passes(3 * 900)  # one call may ask again now and then: that is no room
        assert stage.actions() == [("day", True)]

    play(scene, Caps(day=2))


@pytest.mark.parametrize(
    ("field", "limit"),
    [
        (b"X-MinLimit-Remaining", "minute"),
        (b"X-DayLimit-Remaining", "day"),
        (b"X-AppMinLimit-Remaining", "appminute"),
    ],
)
def test_an_answer_that_leaves_nothing_tells_it(field: bytes, limit: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.headers = ((field, b"0"),)
        await stage.ask()
        await stage.ask((b"Prefer", b"wait=1"))
        assert stage.actions() == [(limit, True)]

    play(scene)


def test_calls_in_progress_are_no_news() -> None:
    async def scene(stage: Stage) -> None:
        await asyncio.gather(*(stage.ask() for _ in range(10)))
        assert stage.told == []

    play(scene, Caps(concurrent=2))
