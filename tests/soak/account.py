"""What callers saw against what the simulator executed; and whether memory grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

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
    """A straight line through samples: what it gains in an hour, and the standard error of that."""

    per_hour: float
    error: float


def slope(samples: Sequence[tuple[float, float]]) -> Slope:
    """The least-squares line through (seconds, value)."""
    count = len(samples)
    if count < 3:
        return Slope(0.0, inf)
    mean_x = sum(x for x, _ in samples) / count
    mean_y = sum(y for _, y in samples) / count
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    gain = sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
    rest = sum((y - mean_y - gain * (x - mean_x)) ** 2 for x, y in samples)
    return Slope(gain * 3600, sqrt(rest / (count - 2) / spread) * 3600)
