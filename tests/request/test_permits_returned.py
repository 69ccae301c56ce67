"""A permit is returned whatever fails: an exception at each call of a request, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from proxy.clock import Clock
from proxy.core.model import Failure
from proxy.http.response import Response
from tests.fakes import run_virtual
from tests.inprocess import Setup, streamed
from tests.stage import MAINTENANCE, OK, RESET, Stage, Step, answers

MODULES = frozenset(
    {
        *(
            "proxy.request.access",
            "proxy.request.attempt",
            "proxy.request.attempts",
            "proxy.request.pipeline",
            "proxy.http.response",
        ),
        *(
            "proxy.observe.telemetry",
            "proxy.core.answers.classify",
            "proxy.core.answers.idempotency",
            "proxy.core.answers.tried",
            "proxy.core.wire.response_headers",
        ),
        *("proxy.core.answers.retry", "proxy.core.answers.marks", "proxy.request.replies", "tests.stage"),
    }
)
RETURNING = frozenset({"break_off", "_release", "close", "let_go", "end", "_fill", "<lambda>", "wake"})
"""What returns permits, or is begun by the loop."""
MANY = 1_000


class Broken(Exception):
    """What fails."""


class Breaks:
    """Fails the call of this number in `MODULES`, counted from 1."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.failed = ""
        self._seen: set[FrameType] = set()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or frame.f_globals.get("__name__") not in MODULES or code.co_name in RETURNING:
            return
        if frame in self._seen:  # a coroutine that goes on
            return
        self._seen.add(frame)
        self.left -= 1
        if self.left == 0:
            self.failed = code.co_qualname
            raise Broken(self.failed)


def streams(clock: Clock) -> Response | Failure:
    begun, inflow = streamed(clock, b"x" * 70_000)
    clock.call_at(clock.now() + 1.0, inflow.end)
    return begun


STEPS: dict[str, list[Step]] = {
    "whole": [OK],
    "streamed": [streams, OK],
    "lost and repeated": [RESET, OK],
    "held": [answers(503, body=MAINTENANCE), OK],
    "expired": [answers(401, body=b'{"Detail":"TokenExpired: token expired"}'), OK],
}


async def broken_at(number: int, steps: Callable[[], list[Step]]) -> str:
    """What failed, if the number was not beyond the last call."""
    stage = Stage(*steps(), setup=Setup())
    breaks, before = Breaks(number), sys.getprofile()
    sys.setprofile(breaks)
    try:
        await stage.ask("PUT")
    except Broken:
        pass
    finally:
        sys.setprofile(before)
    await stage.passes(5.0)
    (tenant,) = stage.proxy.scheduler.snapshot().tenants or (None,)
    assert tenant is None or tenant.in_flight == 0, f"a permit is lost where {breaks.failed} fails"
    assert not [hold for hold in stage.proxy.scheduler.snapshot().holds if hold.probing], breaks.failed
    stage.xero._steps = [OK]
    call = await stage.ask("GET", (b"Authorization", b"Bearer another"))
    assert call.answer.status == 200, breaks.failed
    return breaks.failed


@pytest.mark.parametrize("kind", STEPS)
def test_whatever_fails_its_permit_is_returned(kind: str) -> None:
    failed = []
    for number in range(1, MANY):
        what = run_virtual(broken_at(number, lambda: list(STEPS[kind])))
        if not what:
            break
        failed.append(what)
    assert len(failed) < MANY - 1
    assert {"Sender.attempt", "classify", "Sender._classify", "Telemetry.attempt"} <= set(failed)
