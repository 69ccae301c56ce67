"""How late the loop was, told as often as it should be."""

from __future__ import annotations

import pytest

from proxy.clock import Clock
from proxy.lag import EVERY_SECONDS, Lag
from tests.fakes import run_virtual


def test_a_loop_that_is_not_busy_is_not_late() -> None:
    async def main() -> list[float]:
        clock, seen = Clock(), list[float]()
        lag = Lag(clock, seen.append)
        lag.start()
        await clock.sleep_until(clock.now() + 5.5 * EVERY_SECONDS)
        lag.stop()
        await clock.sleep_until(clock.now() + 5.5 * EVERY_SECONDS)
        return seen

    assert run_virtual(main()) == pytest.approx([0.0] * 5, abs=1e-6)


def test_a_loop_that_was_kept_from_its_timers_is_as_late_as_that() -> None:
    class Late(Clock):
        """Looks at the time two seconds later than it was to."""

        def __init__(self) -> None:
            super().__init__()
            loop_time = self.now
            self.late = 0.0
            self.now = lambda: loop_time() + self.late

    async def main() -> list[float]:
        clock, seen = Late(), list[float]()
        lag = Lag(clock, seen.append)
        lag.start()
        clock.late = 2.0
        while not seen:
            await Clock().sleep_until(Clock().now() + EVERY_SECONDS)
        lag.stop()
        return seen

    assert run_virtual(main()) == pytest.approx([2.0], abs=1e-6)
