"""What becomes of callers in a world of their own."""

from __future__ import annotations

from proxy.core.line.lines import Waiting
from proxy.core.line.refusal import Refusal
from tests.scheduling import Caller, Course, Try, World
from tests.strict_xero import Limits
from tests.watched import WatchedLoop, run_watched

SLOW = (Try(out=1.0, work=8.0, back=1.0),)


def lasting(limits: Limits, *callers: Caller, waiting: Waiting | None = None) -> tuple[World, list[Course]]:
    """Run the callers to their end, and check that nothing is left of them."""

    async def main(loop: WatchedLoop) -> tuple[World, list[Course]]:
        world = World(loop, limits, waiting=waiting)
        courses = await world.run(*callers)
        world.is_idle()
        return world, courses

    return run_watched(main)


def refusal(course: Course) -> Refusal:
    assert course.refusal is not None
    return course.refusal
