"""The day's budget: our own coarse count, corrected by what the server says is left.

The time of Xero's reset is never computed. What `X-DayLimit-Remaining` says is the truth; the count of
our own calls in the last 24 hours stands in where nothing was said.

The limit itself is never said. It is at least what is left and what we sent of the same day, and limits are
round numbers, one digit and zeros. So it is the next of those where that is more than was believed; and where
the first answer of a day makes exactly such a number, others have sent nothing and that is the limit. A day
of which nothing is left says nothing of it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

DAY_SECONDS = 86_400.0
BUCKET_SECONDS = 300.0
ASK_AGAIN_SECONDS = 900.0
"""How long an exhausted budget is believed before one call asks again, lest a stale reading block the
only request that could refresh it. A 429 in answer names the true end, and a hold keeps to it."""


class DayRecord(NamedTuple):
    """What was spent of a day at one moment, to be restored in another process.

    `calls` are pairs of an age in whole seconds and how many, the oldest first; `said` is what is left by the
    server's word, `asked` the age of the latest call, `shown` the limit by the server's word. None stands
    for never.
    """

    calls: tuple[tuple[int, int], ...]
    said: int | None
    asked: int | None
    shown: int | None = None


class Day:
    """Calls left today for one organisation. Xero may show that `limit` is less, and where it `grows` also
    that it is more.
    """

    __slots__ = ("_asked_at", "_buckets", "_given", "_grows", "_said", "_shown", "_used", "limit")

    def __init__(self, limit: int, *, grows: bool = False) -> None:
        self.limit = self._given = limit
        self._grows = grows
        self._shown: int | None = None
        self._buckets: deque[list[float]] = deque()
        self._used = 0
        self._said: int | None = None
        self._asked_at = float("-inf")

    def left(self, now: float) -> int:
        """Calls that may still be sent; negative where others took more than was left."""
        while self._buckets and now - self._buckets[0][0] >= BUCKET_SECONDS + DAY_SECONDS:
            self._used -= int(self._buckets.popleft()[1])
        ours = self.limit - self._used
        return ours if self._said is None else min(ours, self._said)

    def remaining(self, now: float) -> int:
        """Calls that may still be sent; never negative."""
        return max(0, self.left(now))

    def earliest(self, now: float, ahead: int = 0) -> float:
        """When the call behind `ahead` others can be sent."""
        if self.left(now) > ahead:
            return now
        ask_again = max(now, self._asked_at + ASK_AGAIN_SECONDS)
        if not self._buckets or (self._said is not None and self._said <= ahead):
            return ask_again
        return min(ask_again, self._buckets[0][0] + BUCKET_SECONDS + DAY_SECONDS)

    def dispatch(self, now: float) -> None:
        """Count a call that is sent now."""
        self._asked_at = now
        if self._said is not None:
            self._said -= 1
        if not self._buckets or now - self._buckets[-1][0] >= BUCKET_SECONDS:
            self._buckets.append([now, 0])
        self._buckets[-1][1] += 1
        self._used += 1

    def give_back(self) -> None:
        """Uncount a call that never left."""
        if self._said is not None:
            self._said += 1
        bucket = next((bucket for bucket in reversed(self._buckets) if bucket[1]), None)
        if bucket is not None:
            bucket[1] -= 1
            self._used -= 1

    def learn(self, remaining: int, unaccounted: int) -> None:
        """Take the server's word: `remaining` when it answered, before up to `unaccounted` calls of ours.

        The estimate moves only where it leaves [remaining − unaccounted, remaining]. A rise means that the
        server has forgotten so many calls: as many of our oldest go too.
        """
        least = remaining - unaccounted
        anew = self._said is None or self._said < least
        if self._said is None or self._said > remaining:
            self._said = remaining
        elif self._said < least:
            self._forget(least - self._said)
            self._said = least
        sent = max(self._used, unaccounted + 1)
        shown = _round(least + sent)
        if remaining and (shown > self.limit or (anew and shown <= remaining + sent)):
            self._show(shown)

    def outlive(self) -> None:
        """A call went well and its answer says nothing of the day: the server's word, if it was that nothing
        is left, is void.
        """
        if self._said is not None and self._said < 0:
            self._said = None

    def doubt(self) -> None:
        """Let one call ask, whatever is believed."""
        self._asked_at = float("-inf")

    def begin_anew(self) -> None:
        """Another day has begun, of which the server has said nothing yet."""
        self._said = self._shown = None
        self.limit = self._given
        self._buckets.clear()
        self._used = 0

    @property
    def doubted(self) -> bool:
        """Whether no call has asked since, or ever."""
        return self._asked_at == float("-inf")

    def _show(self, limit: int) -> None:
        self._shown = limit
        self.limit = limit if self._grows else min(limit, self._given)

    def record(self, now: float) -> DayRecord:
        """All that counts towards the day."""
        asked = None if self._asked_at == float("-inf") else int(now - self._asked_at)
        calls = tuple((int(now - began), int(count)) for began, count in self._buckets)
        return DayRecord(calls, self._said, asked, self._shown)

    def restore(self, record: DayRecord, at: float, now: float) -> None:
        """Begin with what another process recorded at `at`, on this one's clock."""
        for age, count in record.calls:
            self._buckets.append([min(now, at - age), count])
            self._used += count
        self._said = record.said
        if record.asked is not None:
            self._asked_at = min(now, at - record.asked)
        if record.shown is not None:
            self._show(record.shown)

    def _forget(self, calls: int) -> None:
        while calls > 0 and self._buckets:
            gone = min(calls, int(self._buckets[0][1]))
            self._buckets[0][1] -= gone
            self._used -= gone
            calls -= gone
            if self._buckets[0][1] <= 0:
                self._buckets.popleft()


def _round(calls: int) -> int:
    """The next number of one digit and zeros."""
    calls = max(1, calls)
    unit: int = 10 ** (len(str(calls)) - 1)
    return -(-calls // unit) * unit
