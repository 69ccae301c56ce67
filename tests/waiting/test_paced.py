"""Many things at once, a few in each turn of the loop, in virtual time."""

from __future__ import annotations

import asyncio

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.line.lines import Waiting
from proxy.waiting.paced import A_TURN, Paced
from tests.fakes import run_virtual
from tests.inprocess import FakeCall, Proxy, Setup
from tests.stage import Script


async def turn() -> None:
    """Let the loop turn once."""
    await Clock().sleep_until(0.0)


def into(done: list[int], *, anything: bool = True) -> Paced[int]:
    """Notes what it does, and that there was `anything` to do."""

    def do(what: int) -> bool:
        done.append(what)
        return anything

    return Paced(Clock(), do)


def test_what_is_added_is_done_in_order_and_so_many_in_one_turn_of_the_loop() -> None:
    async def run() -> None:
        done: list[int] = []
        paced = into(done)
        for what in range(3 * A_TURN + 1):
            paced.add(what)
        assert len(done) == A_TURN
        while len(done) < 3 * A_TURN + 1:
            before = len(done)
            await turn()
            assert len(done) - before <= A_TURN
        assert done == list(range(3 * A_TURN + 1))
        for _ in range(3):
            await turn()
        paced.add(-1)
        assert done[-1] == -1, "whoever comes alone does not wait"

    run_virtual(run())


def test_what_there_was_nothing_to_do_for_takes_no_room_and_nothing_follows_a_close() -> None:
    async def run() -> None:
        asked: list[int] = []
        paced = into(asked, anything=False)
        for what in range(2 * A_TURN):
            paced.add(what)
        assert len(asked) == 2 * A_TURN
        done: list[int] = []
        paced = into(done)
        for what in range(2 * A_TURN):
            paced.add(what)
        paced.close()
        await turn()
        assert len(done) == A_TURN
        into([]).close()

    run_virtual(run())


def test_four_thousand_that_expire_together_let_everything_else_go_on() -> None:
    many = 4000

    async def run() -> None:
        clock = Clock()
        setup = Setup(caps=Caps(minute=10**6, day=10**6, app_minute=10**6), waiting=Waiting(many, many))
        proxy = Proxy(clock, Script(clock, seconds=60.0), setup)
        calls = [FakeCall(clock, headers=((b"Prefer", b"wait=10"),)) for _ in range(many + 5)]
        tasks = [asyncio.ensure_future(proxy.handle(call)) for call in calls]
        await clock.sleep_until(clock.now() + 10.0)
        answered = most = 0
        while answered < many:
            await turn()
            now = sum(call.answered for call in calls)
            answered, most = now, max(most, now - answered)
        assert most <= 2 * A_TURN
        await asyncio.gather(*tasks)
        assert sum(call.answer.class_ == b"refused_concurrent" for call in calls) == many
        proxy.is_idle()

    run_virtual(run())
