"""One timer for the deadlines of many, and how late it is called."""

from __future__ import annotations

import pytest

from proxy.clock import Clock
from proxy.http.deadlines import Deadlines
from tests.fakes import run_virtual


class Watched:
    """Notes when it expired."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired: list[float] = []

    def expire(self, now: float) -> None:
        self.expired.append(now)
        self.deadline = float("inf")


class Held(Clock):
    """A clock on which `late` seconds more have passed than the loop knows of."""

    def __init__(self) -> None:
        super().__init__()
        loop_time, self.late = self.now, 0.0
        self.now = lambda: loop_time() + self.late


def test_a_deadline_is_noticed_late_by_a_tick_at_most_and_never_early() -> None:
    async def main() -> None:
        clock = Clock()
        deadlines, watched = Deadlines(clock, tick=0.5), Watched(clock.now() + 1.2)
        due = watched.deadline
        deadlines.watch(watched)
        await clock.sleep_until(clock.now() + 3.0)
        deadlines.forget(watched)
        (expired,) = watched.expired
        assert due <= expired <= due + 0.5

    run_virtual(main())


@pytest.mark.parametrize("held", [0.0, 2.0])
def test_it_is_told_how_late_the_loop_is(held: float) -> None:
    async def main() -> None:
        clock, seen = Held(), list[float]()
        deadlines, watched = Deadlines(clock, 0.5, seen.append), Watched(float("inf"))
        deadlines.watch(watched)
        clock.late = held
        while not seen:
            await Clock().sleep_until(Clock().now() + 0.5)
        deadlines.forget(watched)
        assert seen[0] == pytest.approx(held, abs=1e-6)

    run_virtual(main())
