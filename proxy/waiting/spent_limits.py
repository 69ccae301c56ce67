"""Which limits are spent, so that their beginning and end are told, each once.

A limit is spent when a decision or one of Xero's answers says so. That it has room again is told a minute
later at the earliest, and only when it has room then and nobody waits for it: a busy organisation takes each
call as it becomes free, and would else be two lines for each. How many calls are in progress changes with
each of them and is not told.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.clock import Clock
from proxy.core.limits.decision import Ask, Denial, Permit
from proxy.core.model import Limit, LimitChange, Remaining
from proxy.waiting.alarms import Alarms

TOLD = frozenset({Limit.MINUTE, Limit.DAY, Limit.APP_MINUTE})
LOOK_SECONDS = 60.0


class SpentLimits:
    """`room` says whether a limit of a request has room now and nobody waits for it, `tell` is told of every
    change.
    """

    def __init__(
        self, room: Callable[[Ask, str], bool], tell: Callable[[LimitChange], None], clock: Clock
    ) -> None:
        self._room = room
        self._tell = tell
        self._clock = clock
        self._spent: dict[tuple[str, str, str], Ask] = {}
        self._alarms = Alarms(clock, self._look, lambda key, _when: key in self._spent)

    def decided(self, ask: Ask, decision: Permit | Denial | None) -> None:
        """A request got a permit or not; with the last one that there was comes what the next is told."""
        denial = decision.following if isinstance(decision, Permit) else decision
        if denial is not None:
            self.note(ask, denial.limit)

    def note(self, ask: Ask, limit: str) -> None:
        """`limit`, or a hold for that reason, stops requests like this one."""
        if limit not in TOLD:
            return
        key = (limit, ask.app, "" if limit == Limit.APP_MINUTE else ask.tenant or "")
        if key not in self._spent:
            self._spent[key] = ask
            self._tell(LimitChange(*key, spent=True))
            self._alarms.add(self._clock.now() + LOOK_SECONDS, key)

    def learn(self, ask: Ask, remaining: Remaining) -> None:
        """Xero's answer says so much is left."""
        if 0 in remaining:
            for limit, left in zip((Limit.MINUTE, Limit.DAY, Limit.APP_MINUTE), remaining, strict=True):
                if left == 0:
                    self.note(ask, limit)

    def close(self) -> None:
        """Tell no more."""
        self._alarms.close()

    def _look(self, key: tuple[str, str, str], _when: float) -> None:
        if self._room(self._spent[key], key[0]):
            del self._spent[key]
            self._tell(LimitChange(*key, spent=False))
        else:
            self._alarms.add(self._clock.now() + LOOK_SECONDS, key)
