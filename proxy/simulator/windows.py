"""Counting windows, as strict as the limit they stand for.

Times are seconds on one monotonic scale and never run backwards. A call counted at `t` occupies a
rolling window until exactly `t + seconds`: at that very moment it has left.
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum


class WindowKind(StrEnum):
    """Xero's old text says rolling, its newest says fixed; a client has to survive both."""

    ROLLING = "rolling"
    FIXED = "fixed"


class Rolling:
    """At most `limit` calls in any `(now - seconds, now]`."""

    __slots__ = ("_calls", "limit", "seconds")

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._calls: deque[float] = deque()

    def counted(self, now: float) -> int:
        """Calls that the window holds."""
        calls = self._calls
        while calls and calls[0] + self.seconds <= now:
            calls.popleft()
        return len(calls)

    def remaining(self, now: float) -> int:
        """Calls that would pass now."""
        return max(0, self.limit - self.counted(now))

    def count(self, now: float) -> None:
        """Count a call, whether there is room or not."""
        self.counted(now)
        self._calls.append(now)

    def take(self, now: float) -> bool:
        """Count a call if there is room; False leaves everything as it was."""
        if self.counted(now) >= self.limit:
            return False
        self._calls.append(now)
        return True

    def retry_after(self, now: float) -> int:
        """Whole seconds until a call would pass, rounded up; 0 if one would pass now."""
        if self.counted(now) < self.limit:
            return 0
        return math.ceil(self._calls[-self.limit] + self.seconds - now)


class Fixed:
    """At most `limit` calls in each `[phase + k * seconds, phase + (k + 1) * seconds)`."""

    __slots__ = ("_counted", "_index", "limit", "phase", "seconds")

    def __init__(self, limit: int, seconds: float, phase: float = 0.0) -> None:
        self.limit = limit
        self.seconds = seconds
        self.phase = phase
        self._index = 0
        self._counted = 0

    def counted(self, now: float) -> int:
        """Calls that the window of `now` holds."""
        index = math.floor((now - self.phase) / self.seconds)
        if index != self._index:
            self._index, self._counted = index, 0
        return self._counted

    def remaining(self, now: float) -> int:
        """Calls that would pass now."""
        return max(0, self.limit - self.counted(now))

    def count(self, now: float) -> None:
        """Count a call, whether there is room or not."""
        self._counted = self.counted(now) + 1

    def take(self, now: float) -> bool:
        """Count a call if there is room; False leaves everything as it was."""
        if self.counted(now) >= self.limit:
            return False
        self._counted += 1
        return True

    def retry_after(self, now: float) -> int:
        """Whole seconds until the window resets, rounded up; 0 if a call would pass now."""
        if self.counted(now) < self.limit:
            return 0
        return max(1, math.ceil(self.phase + (self._index + 1) * self.seconds - now))


Window = Rolling | Fixed


def window(kind: WindowKind, limit: int, seconds: float, phase: float) -> Window:
    """A new, empty window; `phase` says when a fixed one resets."""
    return Rolling(limit, seconds) if kind is WindowKind.ROLLING else Fixed(limit, seconds, phase)
