"""The net under what is published: whoever was told no time to come back asks again now and then."""

from __future__ import annotations

from functools import partial
from random import Random

from proxy.clock import Clock, Timer
from proxy.core.limits.decision import Ask, Denial
from proxy.core.limits.sharing import POLL_SECONDS
from proxy.stores import Heard


class Polls:
    """One timer for each line that was denied without a time."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.heard: Heard | None = None
        self._clock = clock
        self._random = random
        self._timers: dict[tuple[str, str | None], Timer] = {}

    def denied(self, ask: Ask, denial: Denial) -> None:
        """Wake the line again within `POLL_SECONDS`, where nothing else is sure to."""
        key = (ask.app, ask.tenant)
        if denial.until is None and key not in self._timers:
            at = self._clock.now() + POLL_SECONDS * (0.5 + self._random.random() / 2)
            self._timers[key] = self._clock.call_at(at, partial(self._due, key))

    def close(self) -> None:
        """Wake nobody any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: tuple[str, str | None]) -> None:
        del self._timers[key]
        if self.heard is not None:
            self.heard.released(*key)
