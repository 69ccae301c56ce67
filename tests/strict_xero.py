"""A Xero that counts strictly, and the rows of its answers."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from proxy.core.limits.decision import Ask
from proxy.core.model import Execution, HoldRule, Limit, Remaining, ResponseClass, Scope

SECONDS = 60.0
TENANT = Ask("app", "tenant", "accounting")
OK = ResponseClass("success", Execution.DONE, healthy=True)
REFUSED = ResponseClass("connect_failed", Execution.NEVER_SENT)
UNREACHABLE = ResponseClass(
    "connect_failed", Execution.NEVER_SENT, hold=HoldRule(Scope.HOST, "failing", "backoff")
)
LOST = ResponseClass("upstream_reset", Execution.UNKNOWN)
GATEWAY = ResponseClass("bad_gateway", Execution.UNKNOWN, breaks=True)
OFFLINE = ResponseClass("offline", Execution.REJECTED, hold=HoldRule(Scope.TENANT, "offline", "offline"))
MAINTENANCE = ResponseClass(
    "maintenance", Execution.REJECTED, hold=HoldRule(Scope.API, "maintenance", "backoff")
)
TOO_MANY = {
    Limit.MINUTE: ResponseClass(
        "limit_minute",
        Execution.REJECTED,
        hold=HoldRule(Scope.TENANT, "minute", "retry_after"),
        limit=Limit.MINUTE,
    ),
    Limit.APP_MINUTE: ResponseClass(
        "limit_appminute",
        Execution.REJECTED,
        hold=HoldRule(Scope.APP, "appminute", "retry_after"),
        limit=Limit.APP_MINUTE,
    ),
    Limit.CONCURRENT: ResponseClass(
        "limit_concurrent",
        Execution.REJECTED,
        hold=HoldRule(Scope.TENANT, "concurrent", 0.25, probe=False),
        limit=Limit.CONCURRENT,
    ),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server enforces and the proxy knows; `phase` is where fixed windows begin, None rolling."""

    minute: int = 60
    app_minute: int = 10_000
    concurrent: int = 5
    phase: float | None = None


class Count:
    """One limit as a strict server counts it: rolling, or in fixed windows from `phase`."""

    def __init__(self, limit: int, phase: float | None) -> None:
        self.limit = limit
        self._phase = phase
        self._times: deque[float] = deque()

    def left(self, now: float) -> int:
        while self._times and self._times[0] <= self._begin(now):
            self._times.popleft()
        return self.limit - len(self._times)

    def take(self, now: float) -> None:
        self._times.append(now)

    def retry_after(self, now: float) -> float:
        self.left(now)
        if self._phase is None:
            return -((now - self._times[0] - SECONDS) // 1)
        return -((now - SECONDS - self._begin(now)) // 1)

    def _begin(self, now: float) -> float:
        if self._phase is None:
            return now - SECONDS
        # A call at the very beginning of a window belongs to it.
        return (now - self._phase) // SECONDS * SECONDS + self._phase - 1e-9


class Xero:
    """The server: a ledger of what arrived, and a 429 for whatever is over a limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tenants: dict[tuple[str, str], Count] = defaultdict(lambda: Count(limits.minute, limits.phase))
        self._apps: dict[str, Count] = defaultdict(lambda: Count(limits.app_minute, limits.phase))
        self.in_progress: Counter[tuple[str, str]] = Counter()
        self.arrivals: dict[tuple[str, str | None], list[float]] = defaultdict(list)
        self.too_many: Counter[Limit] = Counter()

    def arrive(self, ask: Ask, now: float) -> tuple[Limit | None, Remaining, float | None]:
        """Count a call, or say which limit it broke; what is left, and Retry-After."""
        self.arrivals[ask.app, ask.tenant].append(now)
        app = self._apps[ask.app]
        counts = [(Limit.APP_MINUTE, app)]
        if ask.tenant is not None:
            counts.append((Limit.MINUTE, self._tenants[ask.app, ask.tenant]))
            self.in_progress[ask.app, ask.tenant] += 1
            if self.in_progress[ask.app, ask.tenant] > self._limits.concurrent:
                self.too_many[Limit.CONCURRENT] += 1
                return Limit.CONCURRENT, Remaining(), None
        for limit, count in counts:
            if count.left(now) <= 0:
                self.too_many[limit] += 1
                return limit, self._remaining(counts, now), count.retry_after(now)
        for _, count in counts:
            count.take(now)
        return None, self._remaining(counts, now), None

    def depart(self, ask: Ask) -> None:
        if ask.tenant is not None:
            self.in_progress[ask.app, ask.tenant] -= 1

    def foreign(self, app: str, tenant: str, now: float) -> None:
        """Somebody else's call on the same limit."""
        count = self._tenants[app, tenant]
        if count.left(now) > 0:
            count.take(now)

    @staticmethod
    def _remaining(counts: list[tuple[Limit, Count]], now: float) -> Remaining:
        left = {limit: count.left(now) for limit, count in counts}
        return Remaining(minute=left.get(Limit.MINUTE), app_minute=left[Limit.APP_MINUTE])
