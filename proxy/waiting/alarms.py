"""Many times at which something is due, one timer of the event loop."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from proxy.clock import Clock, Timer

T = TypeVar("T")

FEW = 1024
"""So many alarms are kept without asking whether they still matter."""


class Alarms(Generic[T]):
    """Calls `due(what, when)` once per alarm, at or after its time. Alarms are never cancelled: whoever
    is told decides whether it still matters, and those that `matters` says do not are dropped before
    they are half of all.
    """

    def __init__(
        self, clock: Clock, due: Callable[[T, float], None], matters: Callable[[T, float], bool]
    ) -> None:
        self._clock = clock
        self._due = due
        self._matters = matters
        self._heap: list[tuple[float, int, T]] = []
        self._room = FEW
        self._order = count()
        self._timer: Timer | None = None
        self._timer_at = float("inf")

    def add(self, when: float, what: T) -> None:
        """Ask to be told about `what` at `when`."""
        if len(self._heap) >= self._room:
            self._heap = [alarm for alarm in self._heap if self._matters(alarm[2], alarm[0])]
            heapify(self._heap)
            self._room = max(FEW, 2 * len(self._heap))
        heappush(self._heap, (when, next(self._order), what))
        self._arm()

    def close(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._heap and self._heap[0][0] < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = self._heap[0][0]
            self._timer = self._clock.call_at(self._timer_at, self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            when, _, what = heappop(self._heap)
            self._due(what, when)
        self._arm()
