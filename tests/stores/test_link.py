"""A connection to a real server, in time that passes by hand."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.core.limits.accounts import Caps
from proxy.core.limits.holds import HoldTimes
from proxy.stores.link import LAST_LOOK_SECONDS, Link, Trouble
from proxy.stores.script import Arguments, Script
from tests.servers import Server
from tests.stores.contract import ASK
from tests.stores.hand_clock import HandClock
from tests.stores.replica import Replica

TIMEOUT = 5.0
SCRIPT = Script("test", "", "one", Caps(), HoldTimes())


@pytest.mark.parametrize("before", [True, False])
async def test_a_calls_time_runs_from_when_it_was_asked_whatever_is_before_it(
    server: Server, before: bool
) -> None:
    clock, lost = HandClock(), list[Trouble]()
    link = Link(server.url, SCRIPT, timeout=TIMEOUT, clock=clock, lost=lost.append)
    assert await link.open() is None
    server.signal(signal.SIGSTOP)
    calls = [link.call(SCRIPT.beat)] if before else []
    calls.append(link.call(SCRIPT.beat, clock.now() - TIMEOUT + 1.0))
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

    def noted(
        link: Link, arguments: Callable[[], Arguments], asked_at: float | None = None, *, urgent: bool = True
    ) -> object:
        asked.append((arguments()[0], asked_at))
        return call(link, arguments, asked_at, urgent=urgent)

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


async def test_the_first_call_of_a_turn_goes_at_once_and_the_others_follow_together(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, written = await opened(server), list[bytes]()
    write = link._transport.write

    def noted(data: bytes) -> None:
        written.append(data)
        write(data)

    monkeypatch.setattr(link._transport, "write", noted)
    calls = [link.call(SCRIPT.beat)]
    assert len(written) == 1
    calls += [link.call(SCRIPT.beat, urgent=urgent) for urgent in (False, True)]
    assert len(written) == 1
    await asyncio.wait(calls)
    assert len(written) == 2
    calls = [link.call(SCRIPT.beat, urgent=False)]
    assert len(written) == 2
    await asyncio.wait(calls)
    assert [octets.count(b"EVAL") for octets in written] == [1, 2, 1]
    await link.close()


@pytest.mark.parametrize("octets", [b"+OK\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
async def test_what_was_not_asked_for_ends_the_connection(server: Server, octets: bytes) -> None:
    link = await opened(server)
    link.data_received(octets)
    assert link.over.result() == Trouble("error")
    link.data_received(octets)  # what comes after that is passed over
    assert await link.call(SCRIPT.beat) == Trouble("error")
    await link.close()


async def opened(server: Server) -> Link:
    link = Link(server.url, SCRIPT, timeout=TIMEOUT, clock=HandClock(), lost=lambda _trouble: None)
    assert await link.open() is None
    return link
