"""Moments in order, of which the oldest may be forgotten but stay counted."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from itertools import repeat


class Moments:
    """Sorted moments of which the oldest may be forgotten; counts include the forgotten ones.

    Most questions are about what is older or younger than all of them, and cost no search. They lie side by
    side in an array: of a busy app there are many, and each step of a search in a list would fetch a float
    from somewhere else in memory.
    """

    __slots__ = ("forgotten", "times", "total")

    def __init__(self) -> None:
        self.times = array("d")
        self.forgotten = 0
        self.total = 0
        """How many there have been."""

    def add(self, when: float) -> None:
        """Remember one; constant time when it is the latest."""
        times = self.times
        self.total += 1
        if not times or when >= times[-1]:
            times.append(when)
        else:
            insort(times, when)

    def remove(self, when: float) -> None:
        """Take back one that was added at `when`, be it forgotten or not."""
        self.total -= 1
        times = self.times
        place = bisect_left(times, when)
        if place < len(times) and times[place] == when:
            del times[place]
        else:
            self.forgotten -= 1

    def before(self, when: float) -> int:
        """How many were earlier than `when`."""
        times = self.times
        if not times or times[-1] < when:
            return self.total
        return self.forgotten + (bisect_left(times, when) if times[0] < when else 0)

    def until(self, when: float) -> int:
        """How many were at `when` or earlier."""
        times = self.times
        if not times or times[-1] <= when:
            return self.total
        return self.forgotten + (bisect_right(times, when) if times[0] <= when else 0)

    def after(self, when: float) -> Iterator[float]:
        """Those later than `when`, oldest first."""
        return map(self.times.__getitem__, range(bisect_right(self.times, when), len(self.times)))

    def next_after(self, when: float, place: int) -> float | None:
        """Of those later than `when`, the one after `place` others."""
        at = bisect_right(self.times, when) + place
        return self.times[at] if at < len(self.times) else None

    def ages(self, now: float, oldest: float, unit: float) -> Iterator[tuple[int, int]]:
        """Those later than `oldest` by their age in whole `unit`s, rounded down, with their number; the
        oldest first.
        """
        times = self.times
        place = bisect_right(times, oldest)
        while place < len(times):
            age = int(max(0.0, now - times[place]) / unit)
            end = bisect_right(times, now - age * unit, place + 1)
            yield age, end - place
            place = end

    def forget(self, when: float) -> None:
        """Let go of those at `when` or earlier, in batches so that it costs little."""
        if self.times and self.times[0] <= when:
            count = bisect_right(self.times, when)
            if 2 * count >= len(self.times):
                del self.times[:count]
                self.forgotten += count


class Others:
    """Calls of others, in batches as they were inferred; counts include those that were forgotten."""

    __slots__ = ("_batches", "_forgotten", "total")

    def __init__(self) -> None:
        self._batches: deque[list[float]] = deque()
        self._forgotten = 0
        self.total = 0

    def add(self, when: float, count: int) -> None:
        """Believe in `count` more from `when` on, which is never earlier than any before."""
        self._batches.append([when, count])
        self.total += count

    def until(self, when: float) -> int:
        """How many were inferred at `when` or earlier."""
        count = self._forgotten
        for inferred, calls in self._batches:
            if inferred > when:
                break
            count += int(calls)
        return count

    def after(self, when: float) -> Iterator[float]:
        """When each of those was inferred that came later than `when`, oldest first."""
        for inferred, calls in self._batches:
            if inferred > when:
                yield from repeat(inferred, int(calls))

    def ages(self, now: float, oldest: float, unit: float) -> Iterator[tuple[int, int]]:
        """As those of `Moments`, a batch each."""
        for inferred, calls in self._batches:
            if inferred > oldest and calls:
                yield int(max(0.0, now - inferred) / unit), int(calls)

    def drop(self, when: float, count: int) -> None:
        """Cease to believe in the `count` oldest of those inferred later than `when`."""
        self.total -= count
        for batch in self._batches:
            if batch[0] > when:
                taken = min(count, int(batch[1]))
                batch[1] -= taken
                count -= taken

    def hasten(self, when: float, earlier: float) -> None:
        """Believe of the oldest of those inferred later than `when` that it was inferred at `earlier`."""
        self.drop(when, 1)
        insort(self._batches, [earlier, 1])
        self.total += 1

    def forget(self, when: float) -> None:
        """Let go of those inferred at `when` or earlier."""
        while self._batches and self._batches[0][0] <= when:
            self._forgotten += int(self._batches.popleft()[1])
