"""A connection to a real server, in time that passes by hand."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from proxy.stores.link import LAST_LOOK_SECONDS, Link, Trouble
from tests.servers import Server
from tests.stores.contract import ASK
from tests.stores.hand_clock import HandClock
from tests.stores.replica import Replica

TIMEOUT = 5.0


@pytest.mark.parametrize("before", [True, False])
async def test_a_calls_time_runs_from_when_it_was_asked_whatever_is_before_it(
    server: Server, before: bool
) -> None:
    clock, lost = HandClock(), list[Trouble]()
    link = Link(server.url, "{test}", timeout=TIMEOUT, clock=clock, lost=lost.append)
    assert await link.open() is None
    server.signal(signal.SIGSTOP)
    calls = [link.call([b"beat"])] if before else []
    calls.append(link.call([b"beat"], clock.now() - TIMEOUT + 1.0))
    clock.pass_seconds(0.9)
    assert not lost
    clock.pass_seconds(0.1)
    clock.pass_seconds(LAST_LOOK_SECONDS)
    assert lost == [Trouble("timeout")]
    assert [await call for call in calls] == lost * len(calls)
    await link.close()


async def test_a_decision_that_needs_two_questions_has_the_time_of_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[bytes, float | None]]()
    call = Link.call

    def noted(link: Link, arguments: list[bytes], asked_at: float | None = None) -> object:
        asked.append((arguments[0], asked_at))
        return call(link, arguments, asked_at)

    monkeypatch.setattr(Link, "call", noted)
    async with Replica(server.url, tmp_path) as one:
        one.store._ahead -= 1000.0  # as where the server's clock was put forward
        before = one.clock.now()
        await one.store.acquire(ASK)
        after = one.clock.now()
    first, second = (at for name, at in asked if name == b"acquire")
    assert first is not None
    assert before <= first <= after
    assert second == first
