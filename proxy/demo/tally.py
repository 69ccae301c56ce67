"""What the demo counts: requests as their callers see them, and calls as the simulator's ledger has them."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.simulator.ledger import Entry

TOO_MANY_REQUESTS = 429
_OFFLINE = frozenset({"offline", "refused_offline"})
_QUEUED = re.compile(r"queue;dur=([0-9.]+)")


@dataclass(slots=True)
class Tally:
    """The requests for one organisation. `waits` and `urgent_waits` are seconds in the proxy's queue."""

    sent: int = 0
    writes: int = 0
    answered: int = 0
    """With a 2xx."""
    told: int = 0
    """With the 503 of an organisation that is offline for longer than they can wait."""
    failed: int = 0
    given_up: int = 0
    """Not answered with a 2xx because the demo was interrupted."""
    retries: int = 0
    waits: list[float] = field(default_factory=list)
    urgent_waits: list[float] = field(default_factory=list)

    def ended(self, status: int, headers: Mapping[str, str], *, urgent: bool, interrupted: bool) -> None:
        """Count an answer; status 0 means that none came."""
        self.retries += max(0, int(headers.get("X-Xero-Proxy-Attempts", "1")) - 1)
        if headers.get("X-Xero-Proxy-Class") in _OFFLINE:
            self.told += 1
            return
        if not 200 <= status < 300:
            self.given_up += interrupted
            self.failed += not interrupted
            return
        self.answered += 1
        if queued := _QUEUED.search(headers.get("Server-Timing", "")):
            (self.urgent_waits if urgent else self.waits).append(float(queued[1]) / 1000)


@dataclass(frozen=True, slots=True)
class Refusals:
    """429s of one organisation: those of our own making, and those met because of somebody else."""

    own: int = 0
    met: int = 0


def refusals(
    entries: Iterable[Entry], refused: Counter[str], *, shared: bool, limit: int, window: float
) -> Refusals:
    """Whose the 429s among an organisation's `entries` are; `refused` counts all 429s by limit.

    Somebody else is to blame only for a 429 of the minute in whose `window` seconds we made fewer calls than
    the limit, and only where there is somebody else; in doubt it is ours.
    """
    total = unexplained = 0
    ours: deque[float] = deque()
    for entry in entries:
        if entry.status != TOO_MANY_REQUESTS:
            ours.append(entry.time)
            continue
        while ours and ours[0] + window <= entry.time:
            ours.popleft()
        total += 1
        unexplained += len(ours) < limit
    other_limits = refused.total() - refused["minute"]
    met = max(0, unexplained - other_limits) if shared else 0
    return Refusals(total - met, met)


def share_used(times: Sequence[float], limit: int, window: float) -> float | None:
    """How near to `limit` calls in `window` seconds an organisation came that always had more to send.

    `times` are those of its calls, in order. At best every `limit`-th call begins the next window; None where
    there were too few to say.
    """
    windows = (len(times) - 1) // limit
    if windows < 1:
        return None
    return windows * window / (times[windows * limit] - times[0])
