"""One limit's window, kept so that the server can never count more than the limit.

Network delay differs from call to call, so calls spaced rightly here may arrive bunched there. A call
therefore occupies the window from its dispatch until *its response head + the window*: it arrived no
later than its response, and the call that takes its place is sent no earlier than a window after that.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import merge
from itertools import islice
from math import inf, nextafter
from typing import NamedTuple

from proxy.core.limits.moments import Moments, Others

CLOCK_DRIFT = 5e-4
"""How much faster our clock may run than the server's: 500 ppm, the most that NTP ever slews."""

HEARING_SECONDS = 1.0
"""Beside others, so long after the last call we wait for word of those under way."""

RETRY_AFTER_UNIT = 1.0
"""`Retry-After` counts whole seconds: what differs by less than one says the same again."""

COMPANY_WINDOWS = 5
"""For so many windows after a call of somebody else we take care not to overtake the server's count."""


RECORDED_PARTS = 60
"""Of a window; so exact are the ages of calls in its record."""


class WindowRecord(NamedTuple):
    """What a window held at one moment, to be restored in another process.

    Of `flying` calls there was no answer yet. `calls` were answered and `others` inferred: pairs of an age,
    in whole sixtieths of the window, and how many, the oldest first.
    """

    flying: int
    calls: tuple[tuple[int, int], ...]
    others: tuple[tuple[int, int], ...] = ()


class Window:
    """At most `limit` calls in any `seconds` at the server, ours and those of others together."""

    __slots__ = (
        "_began_after",
        "_began_before",
        "_lowered_at",
        "_others",
        "_raised_at",
        "_read",
        "_sent",
        "_sent_at",
        "_settled",
        "_span",
        "limit",
        "seconds",
    )

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._span = seconds * (1 + CLOCK_DRIFT)
        self._sent = Moments()
        self._settled = Moments()
        self._others = Others()
        self._read = (-inf, limit, 0)
        self._raised_at = self._lowered_at = self._sent_at = -inf
        self._began_after = self._began_before = -inf

    def occupied(self, now: float) -> int:
        """Calls that the server may still count."""
        horizon = now - self._span
        others = self._others
        count = self._sent.total - self._settled.until(horizon)
        return count + others.total - others.until(horizon) if others.total else count

    def own(self, now: float) -> int:
        """Calls of ours alone that the server may still count."""
        return self._sent.total - self._settled.until(now - self._span)

    def foreign(self, now: float) -> int:
        """Calls of others that are believed to be in the window."""
        return self._others.total - self._others.until(now - self._span)

    def left(self, now: float, *, others: bool = True) -> int:
        """Calls that may be sent at once; negative where others took more than was left. Without `others`
        ours alone count.
        """
        if not others:
            return self.limit - self.own(now)
        left = self.limit - self.occupied(now)
        if now - self._raised_at <= COMPANY_WINDOWS * self._span:
            left = min(left, self._unclaimed(now))
        return left

    def free(self, now: float) -> int:
        """Calls that may be sent at once; never negative."""
        return max(0, self.left(now))

    def idle(self, now: float) -> bool:
        """True when there is nothing here worth keeping."""
        return self.occupied(now) == 0

    def earliest(self, now: float, ahead: int = 0, *, others: bool = True) -> float | None:
        """When the call behind `ahead` others can be sent, if nobody else comes; `others` as in `left`.

        Calls in flight leave a window after their responses, which are not known yet: with nothing
        else to wait for the answer is None for the first in line, and the least possible time behind it.
        Beside others, word of those under way can make it earlier, by less than `HEARING_SECONDS`.
        """
        vacant = self._vacant(now, ahead, others=others)
        if vacant is None or ahead or not others or self._unclaimed(now) > 0:
            return vacant
        return max(vacant, _after(self._sent_at, HEARING_SECONDS))

    def earliest_own(self, now: float, most: int) -> float | None:
        """When fewer than `most` calls are our own, None where only a response can tell; as `earliest`."""
        at = self._settled.next_after(now - self._span, self.own(now) - most)
        return None if at is None else _after(at, self._span)

    def dispatch(self, now: float) -> None:
        """Take a place for a call that is sent now."""
        self._sent.add(now)
        self._sent_at = now
        if self._sent.times[0] <= now - 2 * self._span:
            self._forget(now)

    def settle(self, head_at: float) -> None:
        """Say when a call's response head, or its failure, was read: its place is free a window later."""
        self._settled.add(head_at)

    def give_back(self, sent_at: float) -> None:
        """Free the place of a call that never left."""
        self._sent.remove(sent_at)

    def record(self, now: float) -> WindowRecord:
        """All that the server may still count."""
        horizon, unit = now - self._span, self.seconds / RECORDED_PARTS
        return WindowRecord(
            self._sent.total - self._settled.total,
            tuple(self._settled.ages(now, horizon, unit)),
            tuple(self._others.ages(now, horizon, unit)),
        )

    def restore(self, record: WindowRecord, at: float, now: float) -> None:
        """Begin with what another process recorded at `at`, on this one's clock.

        Calls in flight then count as answered now: they arrived before. When the others were sent is not
        known any more, so they count as sent long ago, which no answer can contradict.
        """
        unit = self.seconds / RECORDED_PARTS
        for age, count in record.calls:
            self._restore(count, min(now, at - age * unit), now)
        self._restore(record.flying, now, now)
        for age, count in record.others:
            if (inferred := min(now, at - age * unit)) > now - self._span:
                self._others.add(inferred, count)

    def _restore(self, count: int, settled: float, now: float) -> None:
        if settled > now - self._span:
            self._sent.forgotten += count
            self._sent.total += count
            for _ in range(count):
                self._settled.add(settled)

    def unaccounted(self, sent_at: float) -> int:
        """Ours that a server answering a call sent at `sent_at` may not have counted yet, itself excepted."""
        return max(0, self._sent.total - self._settled.before(sent_at) - 1)

    def learn(self, sent_at: float, head_at: float, remaining: int, now: float) -> int:
        """Compare the server's count with ours; returns how many calls of others that revealed.

        The call arrived between `sent_at` and `head_at`. Of ours the server had then counted at least
        those settled before it was sent (and itself), at most those sent before its response. The
        estimate moves only where it leaves those bounds; each inferred call stays for a window from now.

        A server that counts less than that least has begun a fixed window anew: then only what came
        since counts. A response says nothing that was sent before the latest such beginning was seen, or
        whose attempt took longer than a window; one sent before another's head was read never lowers what
        that one raised, and one read before another was sent never raises what that one lowered.
        """
        if now - sent_at > self.seconds or sent_at < self._began_before:
            return 0
        counted = max(1, self.limit - remaining)
        settled = self._settled.before(sent_at)
        missing = self._least(settled, head_at) - counted
        if missing > 0:
            times = self._sent.times
            self._began_after = times[bisect_right(times, self._oldest(head_at)) + missing - 1]
            self._began_before = head_at
        if sent_at >= self._read[0]:
            self._read = (sent_at, remaining, self._gone(now))
        oldest = max(sent_at - self._span, self._began_after)
        most = self._sent.until(head_at) - self._settled.before(oldest)
        believed = self.foreign(now) if self._others.total else 0
        if counted - most > believed and head_at >= self._lowered_at:
            revealed = counted - most - believed
            self._others.add(now, revealed)
            self._raised_at = head_at
            return revealed
        if believed and sent_at >= self._raised_at:
            excess = believed - max(0, counted - self._least(settled, head_at))
            if excess > 0:
                self._others.drop(now - self._span, excess)
                self._lowered_at = sent_at
        return 0

    def expect(self, room_at: float, now: float) -> None:
        """Take the server's word, given with a refusal, that it has room again at `room_at`.

        When those who took the room leave is not known, and all were believed to stay for a window: one of
        them leaves then. Whoever goes in its place brings word of the others. Our own count stands.
        """
        vacant = self._vacant(now, 0)
        if self.foreign(now) and (vacant is None or vacant > room_at + RETRY_AFTER_UNIT):
            self._others.hasten(now - self._span, room_at - self._span)

    def forget_others(self, sent_at: float, now: float) -> None:
        """Believe in nobody else: a call sent at `sent_at` was let in, and nothing is known of them."""
        self._others.drop(now - self._span, self.foreign(now))
        self._raised_at, self._lowered_at = -inf, sent_at

    def _least(self, settled: int, head_at: float) -> int:
        """How many of ours the server must have counted in an answer read at `head_at` to a call before
        whose dispatch `settled` of ours had been settled.
        """
        return 1 + max(0, settled - self._sent.until(self._oldest(head_at)))

    def _oldest(self, head_at: float) -> float:
        """What was sent later, the server had not forgotten yet when it answered."""
        return max(head_at - self.seconds * (1 - CLOCK_DRIFT), self._began_before)

    def _vacant(self, now: float, ahead: int, *, others: bool = True) -> float | None:
        """As `earliest`, by our own count alone."""
        free = self.limit - (self.occupied(now) if others else self.own(now))
        if ahead < free:
            return now
        turns, place = divmod(ahead - max(0, free), self.limit)
        at = self._leaving(now, place + max(0, -free), others=others)
        if at is not None:
            return _after(at, self._span) + turns * self._span
        if ahead == 0:
            return None
        return now + self._span + turns * self._span

    def _unclaimed(self, now: float) -> int:
        """What the latest response left, less our calls that it may not have counted yet.

        Where others have been seen of late it is wiser to hear from ours under way than to overtake
        the server's word, but not to wait for one that hangs. Alone, our own count is exact and this would
        only cost time.
        """
        alone = now - self._raised_at > COMPANY_WINDOWS * self._span
        if alone or now - self._sent_at >= HEARING_SECONDS or self._sent.total == self._settled.total:
            return self.limit
        sent_at, remaining, gone = self._read
        return remaining - self.unaccounted(sent_at) + self._gone(now) - gone

    def _gone(self, now: float) -> int:
        horizon = now - self._span
        return self._settled.until(horizon) + self._others.until(horizon)

    def _leaving(self, now: float, place: int, *, others: bool) -> float | None:
        """When the call after `place` others came, of those whose end is known and whom the server may still
        count.
        """
        horizon = now - self._span
        if not (others and self.foreign(now)):
            return self._settled.next_after(horizon, place)
        leaving = merge(self._settled.after(horizon), self._others.after(horizon))
        return next(islice(leaving, place, None), None)

    def _forget(self, now: float) -> None:
        """Keep what `learn` can still ask about: two windows."""
        horizon = now - 2 * self._span
        self._sent.forget(horizon)
        self._settled.forget(horizon)
        self._others.forget(horizon)


def _after(when: float, seconds: float) -> float:
    """The first moment at which `when` is `seconds` ago however the subtraction is rounded."""
    return nextafter(when + seconds, inf)
