"""What callers saw against what the simulator executed; and whether memory grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import inf, sqrt
from statistics import median

SHOWN = 5


@dataclass(slots=True)
class Account:
    """All that happened, by the mark of the request. `late` and `foreign` are marks; `no_answer` are requests
    whose connection ended without one. Callers that left by themselves are in none of these.
    """

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    succeeded: list[str] = field(default_factory=list)
    writes: set[str] = field(default_factory=set)
    left: int = 0
    cut: int = 0
    """Answers cut off in the middle, visibly, as upstream's was."""
    late: list[str] = field(default_factory=list)
    no_answer: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    executed: Counter[str] = field(default_factory=Counter)

    def ended(self) -> int:
        """Requests whose end is known."""
        return sum(self.statuses.values()) + self.left + self.cut + len(self.no_answer)

    def breaches(self) -> list[str]:
        """What must not be, in words; empty where all is well."""
        doubled = [mark for mark in self.writes if self.executed[mark] > 1]
        false = [mark for mark in self.succeeded if not self.executed[mark]]
        found = {
            "without an answer": self.no_answer,
            "answered after the deadline": self.late,
            "given somebody else's answer": self.foreign,
            "a write, executed twice": doubled,
            "told of a success that never was": false,
        }
        told = [f"{len(marks)} {what}: {', '.join(marks[:SHOWN])}" for what, marks in found.items() if marks]
        if self.ended() != self.sent:
            told.append(f"{self.sent} sent, {self.ended()} ended")
        return told


@dataclass(frozen=True, slots=True)
class Slope:
    """What samples gain in an hour: the median, and between what it lies by two standard errors."""

    per_hour: float
    least: float
    most: float


def slope(samples: Sequence[tuple[float, float]]) -> Slope:
    """The median of the slopes between every two of (seconds, value), after Theil and Sen.

    What grows steadily moves it however slowly; a single step, as a process takes when more goes on at once
    than ever before, does not.
    """
    count = len(samples)
    slopes = sorted((b - a) / (y - x) * 3600 for (x, a), (y, b) in combinations(samples, 2) if y > x)
    if count < 3 or not slopes:
        return Slope(0.0, -inf, inf)
    spread = sqrt(count * (count - 1) * (2 * count + 5) / 18)
    least = max(0, int(len(slopes) / 2 - spread))
    return Slope(median(slopes), slopes[least], slopes[-1 - least])
