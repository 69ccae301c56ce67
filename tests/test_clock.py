"""Time while the machine sleeps, and timers that go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.clock import COMPARE_SECONDS, Clock
from tests.fakes import JumpingSelector, VirtualLoop


class Machine:
    """A machine whose loop's clock jumps from timer to timer and stands still while it sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        selector = JumpingSelector()
        self.slept = 0.0
        monkeypatch.setattr("time.monotonic", lambda: selector.now)
        monkeypatch.setattr("time.CLOCK_BOOTTIME", 7, raising=False)
        monkeypatch.setattr("time.clock_gettime", lambda _clock: selector.now + self.slept)
        self.loop = asyncio.SelectorEventLoop(selector)

    def run(self, main: Callable[[Clock], Awaitable[None]]) -> None:
        async def with_clock() -> None:
            await main(Clock())

        try:
            self.loop.run_until_complete(with_clock())
        finally:
            self.loop.close()


def test_a_timer_that_came_due_while_the_machine_slept_is_called_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)

    async def main(clock: Clock) -> None:
        called, began = list[float](), clock.now()
        clock.call_at(began + 0.3, lambda: called.append(clock.now()))
        clock.call_at(began + 600.0, lambda: called.append(clock.now()))
        clock.call_at(began + 700.0, lambda: called.append(clock.now())).cancel()
        await clock.sleep_until(began + 5.0)
        assert called == [pytest.approx(began + 0.3)]
        machine.slept += 900.0
        await clock.sleep_until(clock.now() + COMPARE_SECONDS + 0.1)
        assert called[1:] == [pytest.approx(began + 905.0, abs=COMPARE_SECONDS + 0.1)]
        assert not clock._pending

    machine.run(main)


def test_whoever_waits_is_woken_by_the_time_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)

    async def main(clock: Clock) -> None:
        began = clock.now()
        waiting = asyncio.ensure_future(clock.sleep_until(began + 300.0))
        await clock.sleep_until(began + 10.0)
        machine.slept += 250.0
        await waiting
        assert began + 300.0 <= clock.now() + 1e-6 < began + 301.1
        waiting = asyncio.ensure_future(clock.sleep_until(clock.now() + 300.0))
        await clock.sleep_until(began)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert not clock._pending

    machine.run(main)


def test_where_the_loop_has_a_clock_of_its_own_it_is_this_one() -> None:
    loop = VirtualLoop(1000.0)
    clock = Clock(loop)
    assert clock.now() == 1000.0
    loop.close()
