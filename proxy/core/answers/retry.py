"""Whether a request is sent again, and when.

What decides is whether Xero may have executed it:

| | never sent, rejected | outcome unknown | 500, kept under the key |
|---|---|---|---|
| GET HEAD OPTIONS DELETE | yes | yes | yes |
| POST PUT PATCH with a key in its life, where the API documents keys | yes | yes | no |
| any other | yes | no | no |

Once an attempt of a write may have been executed, all later ones carry the same key and end with its life.
What was never sent, and what a hold explains, is repeated to the deadline; a number of attempts and a budget
bound what was sent and failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.answers.tried import Tried
from proxy.core.model import REPEATABLE, Execution, ResponseClass

BUDGET_SECONDS = 300.0
"""What counts as recent for the retry budget."""
BUDGET_FLOOR = 5
"""Retries in that time that need no requests to pay for them: one a minute."""

BUDGETS_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """Settings of retries: how many attempts may fail that were sent, first and longest delay in seconds."""

    attempts: int = 4
    first: float = 0.5
    longest: float = 30.0

    def delay(self, attempts: int, random: float) -> float:
        """Full jitter over a delay that doubles with each attempt; `random` is in [0, 1)."""
        return random * min(self.first * 2.0 ** min(attempts - 1, 32), self.longest)


@dataclass(frozen=True, slots=True)
class Again:
    """Send again, not before `at`; with a new key where the old one's answer may be kept."""

    at: float
    fresh_key: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """Answer the caller. `suppressed` says what forbade a retry that the answer itself allows."""

    suppressed: str = ""


STOP = Stop()


class Budget:
    """Retries as a share of recent requests, over a floor. Stops a failing upstream from being hit harder."""

    __slots__ = ("_began", "_earlier", "_recent", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self._began = float("-inf")
        self._recent = [0, 0]
        self._earlier = [0, 0]

    def request(self, now: float) -> None:
        """Count a request."""
        self._turn(now)
        self._recent[0] += 1

    def take(self, now: float) -> bool:
        """Pay for one retry; False when there is nothing left to pay with."""
        self._turn(now)
        requests = self._recent[0] + self._earlier[0]
        retries = self._recent[1] + self._earlier[1]
        if retries >= BUDGET_FLOOR + self.share * requests:
            return False
        self._recent[1] += 1
        return True

    def _turn(self, now: float) -> None:
        age = now - self._began
        if age >= BUDGET_SECONDS / 2:
            self._earlier = self._recent if age < BUDGET_SECONDS else [0, 0]
            self._recent = [0, 0]
            self._began = now


class Budgets:
    """One budget for each organisation; of very many the oldest are forgotten."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._budgets: dict[tuple[str, str | None], Budget] = {}

    def of(self, app: str, tenant: str | None) -> Budget:
        """The budget of an organisation, or of an app's calls without one."""
        budget = self._budgets.get((app, tenant))
        if budget is None:
            if len(self._budgets) >= BUDGETS_KEPT:
                del self._budgets[next(iter(self._budgets))]
            budget = self._budgets[app, tenant] = Budget(self._share)
        return budget


def decide(
    tried: Tried,
    row: ResponseClass,
    retry_after: float | None,
    deadline: float,
    now: float,
    elapsed: float,
    random: float,
    backoff: Backoff,
    budget: Budget,
) -> Again | Stop:
    """Say what follows an attempt that `tried` has recorded and that ended with `row`.

    `retry_after` is the response's, in seconds; `elapsed` the time on the scale of keys. What holds its scope
    costs no budget and no backoff: the line waits for the hold, and only a probe goes through.
    """
    if row.execution is Execution.DONE:
        return STOP
    left = tried.key_ends() - elapsed
    if left <= 0 or (row.execution is Execution.CACHED and tried.request.counts_as not in REPEATABLE):
        return Stop("unsafe")
    held = tried.held(row, retry_after)
    bounded = not held and row.execution is not Execution.NEVER_SENT
    if bounded and tried.failures >= backoff.attempts:
        return Stop("attempts")
    delay = backoff.delay(tried.attempts, random)
    if not bounded:
        delay = min(delay, max(backoff.first, (deadline - now) / 2))
    at = now if held else now + max(delay, retry_after or 0.0)
    if max(at, now + (retry_after or 0.0)) > min(deadline, now + left):
        return Stop("deadline")
    if bounded and not budget.take(now):
        return Stop("budget")
    fresh = tried.own_key and not tried.doubtful and row.execution is Execution.REJECTED
    return Again(at, fresh)
