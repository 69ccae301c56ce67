"""What arrived and what became of it: the simulator's evidence.

Secrets stay out: no query, no body, no token, and of an idempotency key only a hash.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass

LONGEST = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One call that arrived. `time` is the moment at which it was counted, on the simulator's clock."""

    sequence: int
    time: float
    app: str
    tenant: str
    method: str
    path: str
    key_hash: str
    """Of the Idempotency-Key; empty without one."""
    status: int
    """Of the answer; 0 where `fate` is that nothing like HTTP is sent."""
    fate: str
    executed: bool
    """Whether the resources carried it out: not where it was refused, failed before, or replayed."""
    replayed: bool
    """Whether the answer came from the idempotency cache."""


@dataclass(frozen=True, slots=True)
class Write:
    """The logical content of a write; two with the same content are duplicates of each other."""

    tenant: str
    method: str
    path: str
    content_hash: str
    """Of the query and the body."""


def short_hash(data: bytes) -> str:
    """Enough of a SHA-256 to tell values apart."""
    return hashlib.sha256(data).hexdigest()[:16]


class Ledger:
    """The latest entries, and counts over all of them."""

    def __init__(self, longest: int = LONGEST) -> None:
        self.entries: deque[Entry] = deque(maxlen=longest)
        self.refused: Counter[str] = Counter()
        """429s by limit: minute, day, concurrent, appminute."""
        self.statuses: Counter[int] = Counter()
        self.writes: Counter[Write] = Counter()
        """How often each write was executed."""
        self.arrived = 0

    def add(self, entry: Entry) -> None:
        """Record a call."""
        self.arrived += 1
        self.entries.append(entry)
        self.statuses[entry.status] += 1

    def duplicates(self) -> dict[Write, int]:
        """Writes that were executed more than once."""
        return {write: times for write, times in self.writes.items() if times > 1}
