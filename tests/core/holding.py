"""Holds, and what happens to them, told with few words."""

from __future__ import annotations

from proxy.core.limits.holds import HoldChange, Holds, HoldTimes
from proxy.core.model import Execution, HoldKey, HoldRule, ResponseClass, Scope, keys_of

TIMES = HoldTimes(offline=300.0, backoff=0.5, backoff_max=30.0)

TENANT = HoldKey(Scope.TENANT, app="app", tenant="t1")
APP = HoldKey(Scope.APP, app="app")
API = HoldKey(Scope.API, api="accounting")
OWN = HoldKey(Scope.TENANT_API, app="app", tenant="t1", api="accounting")
HOST = HoldKey(Scope.HOST)
KEYS = keys_of("app", "t1", "accounting")


def row(
    name: str, rule: HoldRule | None = None, *, healthy: bool = False, breaks: bool = False
) -> ResponseClass:
    return ResponseClass(name, Execution.REJECTED, rule, healthy=healthy, breaks=breaks)


OK = row("success", healthy=True)
SAYS_NOTHING = row("unauthorised")
BROKEN = row("bad_gateway", breaks=True)
OFFLINE = row("offline", HoldRule(Scope.TENANT, "offline", "offline"))
MINUTE = row("limit_minute", HoldRule(Scope.TENANT, "minute", "retry_after"))
APP_MINUTE = row("limit_appminute", HoldRule(Scope.APP, "appminute", "retry_after"))
CONCURRENT = row("limit_concurrent", HoldRule(Scope.TENANT, "concurrent", 0.25, probe=False))
UNREACHABLE = ResponseClass(
    "connect_failed", Execution.NEVER_SENT, HoldRule(Scope.HOST, "failing", "backoff")
)
MAINTENANCE = row("maintenance", HoldRule(Scope.API, "maintenance", "backoff"))


class Story:
    """One organisation's requests, whose answers begin and end holds."""

    def __init__(self) -> None:
        self.holds = Holds(TIMES)
        self.permits = 0

    def send(self, now: float, keys: tuple[HoldKey, ...] = KEYS) -> int | None:
        """The permit's number, or None where a hold stops the request."""
        if self.holds.blocking(keys, now):
            return None
        self.permits += 1
        self.holds.probe(keys, self.permits, now)
        return self.permits

    def answer(
        self,
        response: ResponseClass,
        now: float,
        *,
        sent_at: float,
        permit: int = 0,
        keys: tuple[HoldKey, ...] = KEYS,
        retry_after: float | None = None,
        random: float = 0.0,
        again: bool = False,
    ) -> list[HoldChange]:
        return self.holds.settle(keys, permit, sent_at, response, retry_after, now, random, again=again)

    def until(self, key: HoldKey) -> float:
        hold = self.holds.active.get(key)
        assert hold is not None
        return hold.until
