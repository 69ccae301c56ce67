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

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from proxy.core.answers.idempotency import KEY_LIFE_SECONDS
from proxy.core.model import Execution, ResponseClass, Scope

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REPEATABLE = SAFE | {"DELETE"}
BUDGET_SECONDS = 300.0
"""What counts as recent for the retry budget."""
BUDGET_FLOOR = 5
"""Retries in that time that need no requests to pay for them: one a minute."""

BUDGETS_KEPT = 20_000

DOUBTFUL = frozenset({Execution.UNKNOWN, Execution.CACHED})
"""What may have been executed."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Settings of retries: how many attempts may fail that were sent, first and longest delay in seconds."""

    attempts: int = 4
    first: float = 0.5
    longest: float = 30.0

    def delay(self, attempts: int, random: float) -> float:
        """Full jitter over a delay that doubles with each attempt; `random` is in [0, 1)."""
        return random * min(self.first * 2.0 ** min(attempts - 1, 32), self.longest)


def less_safe(method: str, overrides: Iterable[str]) -> str:
    """The method as which a request counts that asks for `overrides` in its place: who acts on them is not
    known.
    """
    return max((method, *overrides), key=lambda each: (each not in SAFE) + (each not in REPEATABLE))


@dataclass(slots=True)
class History:
    """What is known of one request so far. `attempts` counts the permits that it used, `sends` how often
    bytes left, `failures` the sends that failed with no hold to explain it, `doubts` those that may have been
    executed.

    `keyed` is True where a key protects it, `key_used_at` when that may first have been sent by anybody,
    `own_key` whether the proxy chose it. Nothing at all is sent from `send_by` on: somebody used the key
    before, and what Xero remembers of that is soon forgotten. Both are seconds of `Clock.elapsed`. `tenant`
    is False where the request is of no organisation, so that no hold of one stops it.
    """

    method: str
    keyed: bool = False
    own_key: bool = False
    key_used_at: float | None = None
    send_by: float = inf
    attempts: int = 0
    sends: int = 0
    failures: int = 0
    doubts: int = 0
    tenant: bool = True

    @property
    def unknown(self) -> bool:
        """True once an attempt may have been executed."""
        return self.doubts > 0

    def record(self, row: ResponseClass, retry_after: float | None = None) -> None:
        """Count an attempt that ended with `row`; `retry_after` is the response's, in seconds."""
        sent = row.execution is not Execution.NEVER_SENT
        self.attempts += 1
        self.sends += sent
        self.failures += sent and not self.held(row, retry_after)
        self.doubts += row.execution in DOUBTFUL

    def held(self, row: ResponseClass, retry_after: float | None) -> bool:
        """Whether the response holds a scope of this request, so that the line waits for all of it."""
        if row.hold is None or (row.hold.scope is Scope.TENANT and not self.tenant):
            return False
        return row.hold.seconds != "retry_after" or retry_after is not None

    def proved(self, row: ResponseClass) -> bool:
        """Whether an answer says what became of the request: any to the first attempt that may have been
        executed, and after one that only what Xero says under the same key.
        """
        return row.proves or self.doubts == (row.execution in DOUBTFUL)

    def key_ends(self) -> float:
        """When the bytes of the next attempt must have gone: never before where nothing bounds it."""
        if self.method in REPEATABLE:
            return inf
        if not self.unknown:
            return self.send_by
        if not self.keyed or self.key_used_at is None:
            return -inf
        return min(self.send_by, self.key_used_at + KEY_LIFE_SECONDS)


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
    elapsed: float,
    random: float,
    backoff: Backoff,
    budget: Budget,
) -> Again | Stop:
    """Say what follows an attempt that `history` has recorded and that ended with `row`.

    `retry_after` is the response's, in seconds; `elapsed` the time on the scale of keys. What holds its scope
    costs no budget and no backoff: the line waits for the hold, and only a probe goes through.
    """
    if row.execution is Execution.DONE:
        return STOP
    left = history.key_ends() - elapsed
    if left <= 0 or (row.execution is Execution.CACHED and history.method not in REPEATABLE):
        return Stop("unsafe")
    held = history.held(row, retry_after)
    bounded = not held and row.execution is not Execution.NEVER_SENT
    if bounded and history.failures >= backoff.attempts:
        return Stop("attempts")
    delay = backoff.delay(history.attempts, random)
    if not bounded:
        delay = min(delay, max(backoff.first, (deadline - now) / 2))
    at = now if held else now + max(delay, retry_after or 0.0)
    if max(at, now + (retry_after or 0.0)) > min(deadline, now + left):
        return Stop("deadline")
    if bounded and not budget.take(now):
        return Stop("budget")
    fresh = history.own_key and not history.unknown and row.execution is Execution.REJECTED
    return Again(at, fresh)
