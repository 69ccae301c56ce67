"""Whether a request is sent again, and when.

What decides is whether Xero may have executed it:

| | never sent, rejected | outcome unknown | 500, kept under the key |
|---|---|---|---|
| GET HEAD OPTIONS DELETE | yes | yes | yes |
| POST PUT PATCH with a key in its life | yes | yes | no |
| any other | yes | no | no |

Once an attempt of a write may have been executed, all later ones carry the same key and end with its life.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.idempotency import KEY_LIFE_SECONDS
from proxy.core.model import Execution, ResponseClass, Scope

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
BUDGET_SECONDS = 300.0
"""What counts as recent for the retry budget."""
BUDGET_FLOOR = 5
"""Retries in that time that need no requests to pay for them: one a minute."""

BUDGETS_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """Settings of retries: sends at most, first and longest delay in seconds."""

    attempts: int = 4
    first: float = 0.5
    longest: float = 30.0

    def delay(self, sends: int, random: float) -> float:
        """Full jitter over a delay that doubles with each send; `random` is in [0, 1)."""
        return random * min(self.first * 2.0 ** min(sends - 1, 32), self.longest)


@dataclass(slots=True)
class History:
    """What is known of one request so far. `tries` counts attempts, `sends` those that left.

    `key_used_at` is when its idempotency key was first sent, `own_key` whether the proxy chose it;
    `unknown` is True once an attempt may have been executed, `tenant` False where the request is of no
    organisation, so that no hold of one stops it.
    """

    method: str
    keyed: bool = False
    own_key: bool = False
    key_used_at: float | None = None
    tries: int = 0
    sends: int = 0
    unknown: bool = False
    tenant: bool = True

    def record(self, row: ResponseClass) -> None:
        """Count an attempt that ended with `row`."""
        self.tries += 1
        self.sends += row.execution is not Execution.NEVER_SENT
        self.unknown |= row.execution in {Execution.UNKNOWN, Execution.CACHED}

    def key_ends(self) -> float | None:
        """When the last repetition must have been sent; None where there is no such bound."""
        if not self.unknown or self.key_used_at is None or self.method in REPEATABLE:
            return None
        return self.key_used_at + KEY_LIFE_SECONDS


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
    history: History,
    row: ResponseClass,
    retry_after: float | None,
    deadline: float,
    now: float,
    random: float,
    backoff: Backoff,
    budget: Budget,
) -> Again | Stop:
    """Say what follows an attempt that `history` has recorded and that ended with `row`.

    `retry_after` is the response's, in seconds. A rejection that holds its scope costs no budget and no
    backoff: the line waits for the hold, and only a probe goes through.
    """
    if row.execution is Execution.DONE:
        return STOP
    if not _may_repeat(history, row, now):
        return Stop("unsafe")
    if history.tries >= backoff.attempts:
        return Stop("attempts")
    held = _held(history, row, retry_after)
    at = now if held else now + max(backoff.delay(history.tries, random), retry_after or 0.0)
    if at > min(deadline, history.key_ends() or deadline):
        return Stop("deadline")
    if not held and not budget.take(now):
        return Stop("budget")
    fresh = history.own_key and not history.unknown and row.execution is Execution.REJECTED
    return Again(at, fresh)


def _may_repeat(history: History, row: ResponseClass, now: float) -> bool:
    if history.method in REPEATABLE:
        return True
    if row.execution is Execution.CACHED:
        return False
    if not history.unknown:
        return True
    ends = history.key_ends()
    return history.keyed and ends is not None and now < ends


def _held(history: History, row: ResponseClass, retry_after: float | None) -> bool:
    """Whether the response holds a scope of this request, so that the line waits for all of it."""
    if row.hold is None or (row.hold.scope is Scope.TENANT and not history.tenant):
        return False
    return row.hold.seconds != "retry_after" or retry_after is not None
