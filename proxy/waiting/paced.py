"""Many small things to do at once, without keeping the event loop from everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from proxy.clock import Clock, Timer

T = TypeVar("T")

A_TURN = 32
"""So many are done in one turn of the loop: with what follows from each, some ten milliseconds."""


class Paced(Generic[T]):
    """Does `what` is added in its order, `A_TURN` of them at once and the rest in the next turns of the loop.
    `do` says whether there was anything to do.
    """

    def __init__(self, clock: Clock, do: Callable[[T], bool]) -> None:
        self._clock = clock
        self._do = do
        self._waiting: deque[T] = deque()
        self._room = A_TURN
        self._timer: Timer | None = None

    def add(self, what: T) -> None:
        """Do it now, or as soon as it is its turn."""
        if not self._room:
            self._waiting.append(what)
        elif self._do(what):
            self._room -= 1
            self._again()

    def close(self) -> None:
        """Do nothing any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now(), self._turn)

    def _turn(self) -> None:
        self._timer, self._room = None, A_TURN
        while self._waiting and self._room:
            self._room -= self._do(self._waiting.popleft())
        if self._room < A_TURN:
            self._again()
