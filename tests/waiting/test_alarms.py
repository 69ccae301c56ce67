"""Alarms in virtual time."""

from __future__ import annotations

import pytest

from proxy.clock import Clock
from proxy.waiting.alarms import FEW, Alarms
from tests.watched import WatchedLoop, run_watched


class Bell:
    """Alarms and what they told, and when."""

    def __init__(self, loop: WatchedLoop) -> None:
        self.clock = Clock(loop)
        self.start = self.clock.now()
        self.told: list[tuple[str, float, float]] = []
        self.dead: set[str] = set()
        self.alarms: Alarms[str] = Alarms(self.clock, self._due, lambda what, _when: what not in self.dead)

    def add(self, seconds: float, what: str) -> None:
        self.alarms.add(self.start + seconds, what)

    async def until(self, seconds: float) -> None:
        await self.clock.sleep_until(self.start + seconds)

    def _due(self, what: str, when: float) -> None:
        self.told.append((what, round(when - self.start, 6), round(self.clock.now() - self.start, 6)))
        if what == "again":
            self.add(when - self.start + 1.0, "later")
            self.add(when - self.start, "now")


def test_each_alarm_is_told_once_at_its_time_and_equal_times_in_order() -> None:
    async def main(loop: WatchedLoop) -> None:
        bell = Bell(loop)
        for seconds, what in ((5.0, "e"), (2.0, "b"), (2.0, "c"), (1.0, "a"), (9.0, "f")):
            bell.add(seconds, what)
        await bell.until(8.0)
        assert bell.told == [("a", 1.0, 1.0), ("b", 2.0, 2.0), ("c", 2.0, 2.0), ("e", 5.0, 5.0)]

    run_watched(main)


def test_a_time_that_has_passed_is_told_as_soon_as_the_loop_turns() -> None:
    async def main(loop: WatchedLoop) -> None:
        bell = Bell(loop)
        await bell.until(5.0)
        bell.add(3.0, "late")
        assert bell.told == []
        await bell.until(5.1)
        assert bell.told == [("late", 3.0, 5.0)]

    run_watched(main)


def test_an_alarm_may_add_others() -> None:
    async def main(loop: WatchedLoop) -> None:
        bell = Bell(loop)
        bell.add(1.0, "again")
        bell.add(3.0, "last")
        await bell.until(4.0)
        assert [what for what, _, _ in bell.told] == ["again", "now", "later", "last"]

    run_watched(main)


def test_never_is_never_told() -> None:
    async def main(loop: WatchedLoop) -> None:
        bell = Bell(loop)
        bell.add(float("inf"), "never")
        assert bell.alarms._timer is None
        bell.add(1.0, "soon")
        await bell.until(10_000.0)
        assert [what for what, _, _ in bell.told] == ["soon"]

    run_watched(main)


@pytest.mark.parametrize("armed", [True, False])
def test_nothing_is_told_after_the_end(armed: bool) -> None:
    async def main(loop: WatchedLoop) -> None:
        bell = Bell(loop)
        if armed:
            bell.add(1.0, "a")
        bell.alarms.close()
        await bell.until(2.0)
        assert bell.told == []

    run_watched(main)


def test_what_no_longer_matters_is_not_kept_until_its_time() -> None:
    """Callers choose their deadlines: an hour of answered requests must not stay in memory."""

    async def main(loop: WatchedLoop) -> None:
        bell = Bell(loop)
        for number in range(20 * FEW):
            bell.add(3600.0, f"answered {number}")
            bell.dead.add(f"answered {number}")
        assert len(bell.alarms._heap) <= FEW

    run_watched(main)


def test_what_matters_is_kept_however_much_it_is() -> None:
    async def main(loop: WatchedLoop) -> None:
        bell = Bell(loop)
        for number in range(4 * FEW):
            bell.add(float(4 * FEW - number), f"waiting {number}")
            bell.add(3600.0, f"answered {number}")
            bell.dead.add(f"answered {number}")
            assert len(bell.alarms._heap) <= max(FEW, 2 * (number + 1)) + 1
        await bell.until(4.0 * FEW)
        told = [what for what, _, _ in bell.told if what.startswith("waiting")]
        assert told == [f"waiting {number}" for number in reversed(range(4 * FEW))]

    run_watched(main)
