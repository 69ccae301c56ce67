"""The limits of one app at one organisation, and what was seen of how they were used.

Checked in Xero's order: concurrent, minute, day, app minute. All are looked at before any is
spent, so a refused call spends nothing unless `count_refused` says so (which of the two Xero does is
not established).
"""

from __future__ import annotations

import math
from collections import deque
from random import Random

from proxy.core.model import Headers, Limit
from proxy.simulator import answers
from proxy.simulator.answers import Answer
from proxy.simulator.windows import Window


class Budget:
    """Windows, calls in progress, foreign calls, and the peaks. Times are the simulator's seconds."""

    def __init__(self, minute: Window, day: Window, concurrent_limit: int, random: Random) -> None:
        self.minute = minute
        self.day = day
        self.in_progress = 0
        self.peak_rolling = 0
        """Most calls of ours in any rolling minute window, foreign ones not counted, refused ones counted."""
        self.peak_concurrent = 0
        """Most calls of ours in progress at once, refused ones counted at the moment they came."""
        self.foreign_counted = 0
        """Foreign calls that found room."""
        self._concurrent_limit = concurrent_limit
        self._random = random
        self._arrivals: deque[float] = deque()
        self._foreign_interval = math.inf
        self._next_foreign = math.inf

    def observe(self, now: float) -> None:
        """Note one arrival of ours for the peaks, whatever becomes of it."""
        arrivals = self._arrivals
        while arrivals and arrivals[0] + self.minute.seconds <= now:
            arrivals.popleft()
        arrivals.append(now)
        self.peak_rolling = max(self.peak_rolling, len(arrivals))

    def foreign_rate(self, per_minute: float, now: float) -> None:
        """Somebody else calls this organisation at random from now on, so often on average."""
        self._foreign_interval = 60.0 / per_minute if per_minute > 0 else math.inf
        self._next_foreign = now + self._gap()

    def foreign_call(self, now: float) -> bool:
        """One call by somebody else on the tenant's limits; False where it was refused."""
        self._catch_up(now)
        return self._foreign(now)

    def begin(self, app_minute: Window, now: float, *, count_refused: bool) -> Answer | None:
        """Count a call and start it, or give the 429 that refuses it."""
        self._catch_up(now)
        self.peak_concurrent = max(self.peak_concurrent, self.in_progress + 1)
        refusal = self._refusal(app_minute, now)
        if refusal is None or count_refused:
            for window in (self.minute, self.day, app_minute):
                window.count(now)
        if refusal is None:
            self.in_progress += 1
        return refusal

    def end(self) -> None:
        """A call that was started is over."""
        self.in_progress -= 1

    def headers(self, app_minute: Window, now: float, spent: Limit | None = None) -> Headers:
        """The three `X-*-Remaining` headers; `spent` is a limit that is said to have nothing left."""
        limits = (
            (b"X-AppMinLimit-Remaining", Limit.APP_MINUTE, app_minute),
            (b"X-MinLimit-Remaining", Limit.MINUTE, self.minute),
            (b"X-DayLimit-Remaining", Limit.DAY, self.day),
        )
        return tuple(
            (name, b"%d" % (0 if limit is spent else window.remaining(now))) for name, limit, window in limits
        )

    def _refusal(self, app_minute: Window, now: float) -> Answer | None:
        if self.in_progress >= self._concurrent_limit:
            return answers.too_many(Limit.CONCURRENT, None)
        limits = ((Limit.MINUTE, self.minute), (Limit.DAY, self.day), (Limit.APP_MINUTE, app_minute))
        for limit, window in limits:
            if wait := window.retry_after(now):
                return answers.too_many(limit, wait)
        return None

    def _catch_up(self, now: float) -> None:
        """Make the random foreign calls that were due since the last look, in their order."""
        while self._next_foreign <= now:
            self._foreign(self._next_foreign)
            self._next_foreign += self._gap()

    def _foreign(self, now: float) -> bool:
        if not (self.minute.remaining(now) and self.day.remaining(now)):
            return False
        self.minute.count(now)
        self.day.count(now)
        self.foreign_counted += 1
        return True

    def _gap(self) -> float:
        return self._random.expovariate(1.0) * self._foreign_interval
