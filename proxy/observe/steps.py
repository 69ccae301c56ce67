"""Work for operators that would take long in one go, done in steps between which callers are served.

With 20,000 organisations a snapshot, its text and its metrics take hundreds of milliseconds each. Such work
is a generator that yields after each step, a millisecond's worth, and returns its result at the end.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import TypeAlias, TypeVar

from proxy.clock import Clock

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]

STEP = 100
"""Values that one step looks at."""
PATIENCE_SECONDS = 0.1
CROWDED_STEPS = 5
"""Others are let go after each step until the work has taken so long. Then they are so many that it would
wait for seconds, and a turn of the loop takes so many steps.
"""


def whole(steps: Steps[T]) -> T:
    """The result, in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            result: T = ended.value
            return result


async def paced(steps: Steps[T], clock: Clock) -> T:
    """The result; the loop has its turns in between."""
    patient_until = clock.now() + PATIENCE_SECONDS
    with _collector.resting():
        try:
            while True:
                for _ in range(1 if clock.now() < patient_until else CROWDED_STEPS):
                    next(steps)
                await clock.sleep_until(clock.now())
        except StopIteration as ended:
            result: T = ended.value
            return result


class _Collector:
    """The garbage collector. It would take the many values of a snapshot for what stays, and every few times
    search all that the process has for it, hundreds of milliseconds long; there are no cycles in them.
    """

    def __init__(self) -> None:
        self._work = 0

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Collect nothing in the block."""
        self._work += 1
        gc.disable()
        try:
            yield
        finally:
            self._work -= 1
            if not self._work:
                gc.enable()


_collector = _Collector()


def parts(values: Iterable[T]) -> Iterator[list[T]]:
    """`values`, as many together as one step looks at; made as they are taken."""
    left = iter(values)
    while part := list(islice(left, STEP)):
        yield part


def first(values: Iterable[T], key: Callable[[T], tuple[object, ...]], most: int) -> Steps[list[T]]:
    """The `most` that come first by `key`, in order; equals in the order in which they came."""
    found: list[tuple[tuple[object, ...], int, T]] = []
    order = count()
    for part in parts(values):
        found += [(key(value), next(order), value) for value in part]
        found.sort()
        del found[most:]
        yield
    return [value for _, _, value in found]


def total(numbers: Iterable[int]) -> Steps[int]:
    """Their sum."""
    found = 0
    for part in parts(numbers):
        found += sum(part)
        yield
    return found
