"""Holds: who must not be sent to, until when, and the one request that finds out whether it is over.

A hold begins with a response that names it (organisation offline, maintenance, a 429 that says when) or
with repeated failures of an API. When its time is up exactly one request goes, the probe; everybody else
waits for its verdict. The rules of who holds what are rows of the response table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import inf

from proxy.core.day import DAY_SECONDS
from proxy.core.model import HoldKey, HoldRule, HoldView, ResponseClass, Scope

RESET_MARGIN_SECONDS = 0.4
"""Added to a `Retry-After`: servers reset a little later than they say."""
LONGEST_HOLD_SECONDS = 86_400.0
"""No limit of Xero's lasts longer than a day, so a longer `Retry-After` is not believed."""
BREAKER_FAILURES = 5
"""So many failures of one API with no success between them hold it."""
RESTORED_SECONDS = 60.0
"""The most of a hold that outlives the process in which it began. It is hearsay: by then one request asks."""
FAILING = "failing"
"""The reason of a hold that the breaker began."""


class HoldAction(StrEnum):
    """What happened to a hold."""

    BEGUN = "begun"
    EXTENDED = "extended"
    INCONCLUSIVE = "inconclusive"
    ENDED = "ended"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class HoldChange:
    """One change of one hold; `until` is its end after the change, `probe` whether one request alone is to
    go first then.
    """

    action: HoldAction
    key: HoldKey
    reason: str
    until: float
    probe: bool = True


@dataclass(frozen=True, slots=True)
class HoldTimes:
    """Settings of holds, in seconds: offline organisation, first and longest backoff."""

    offline: float = 300.0
    backoff: float = 0.5
    backoff_max: float = 30.0


@dataclass(slots=True)
class Hold:
    """One hold. `failures` counts how often it has begun anew without a success between."""

    reason: str
    since: float
    until: float
    probe: bool
    failures: int = 0
    probing: int | None = None


class Holds:
    """All holds, keyed by whom they stop."""

    def __init__(self, times: HoldTimes) -> None:
        self._times = times
        self.active: dict[HoldKey, Hold] = {}
        """Also those whose end has come and that wait for their probe."""
        self._failures: dict[str, int] = {}

    def blocking(self, keys: tuple[HoldKey, ...], now: float) -> tuple[HoldKey, Hold] | None:
        """The hold among `keys` that stops a request at `now`, the longest first, or None."""
        worst: tuple[HoldKey, Hold] | None = None
        for key in keys:
            hold = self.active.get(key)
            if hold is None:
                continue
            if hold.until <= now and not hold.probe:
                del self.active[key]
                continue
            stops = hold.until > now or hold.probing is not None
            if stops and (worst is None or hold.until > worst[1].until):
                worst = (key, hold)
        return worst

    def probe(self, keys: tuple[HoldKey, ...], permit: int) -> tuple[HoldKey, ...]:
        """Make permit number `permit` the probe of every hold among `keys`; returns which those are."""
        probed = tuple(key for key in keys if key in self.active)
        for key in probed:
            self.active[key].probing = permit
        return probed

    def settle(
        self,
        keys: tuple[HoldKey, ...],
        permit: int,
        sent_at: float,
        row: ResponseClass,
        retry_after: float | None,
        now: float,
        random: float,
    ) -> list[HoldChange]:
        """Let one attempt's answer begin, extend or end holds; `random` in [0, 1) is the jitter."""
        if not (self.active or self._failures or row.hold or row.breaks):
            return []
        changes: list[HoldChange] = []
        held = self._held_by(row.hold, keys, retry_after)
        for key in keys:
            hold = self.active.get(key)
            probing = hold is not None and hold.probing == permit
            newer = hold is not None and (probing or sent_at > hold.since)
            failures = 0 if hold is None else hold.failures + newer
            breaks = row.breaks and key.scope is Scope.API
            if key == held and row.hold is not None:
                seconds = self._seconds(row.hold, failures, retry_after, random)
                changes += self._hold(key, row.hold.reason, now + seconds, row.hold.probe, newer, now)
            elif hold is not None and probing and breaks:
                seconds = self._backoff(failures, random)
                changes += self._hold(key, hold.reason, now + seconds, hold.probe, newer, now)
            elif hold is not None and row.healthy and newer:
                changes.append(self._end(key, HoldAction.ENDED))
            elif hold is not None and probing:
                hold.probing = None
                changes.append(HoldChange(HoldAction.INCONCLUSIVE, key, hold.reason, hold.until, hold.probe))
            elif breaks and hold is None:
                changes += self._count_failure(key, now, random)
            if row.healthy and key.scope is Scope.API:
                self._failures.pop(key.api, None)
        return changes

    def restore(self, key: HoldKey, hold: Hold, now: float) -> None:
        """Take over a hold that began in another process, for at most `RESTORED_SECONDS`. Whatever this one
        sends is newer, and its probe, if one was out, is lost.
        """
        if hold.probe or hold.until > now:
            until = min(hold.until, now + RESTORED_SECONDS)
            self.active[key] = Hold(hold.reason, -inf, until, hold.probe, hold.failures)

    def forget(self, now: float) -> None:
        """Drop what is over and nobody asked about: at its end, or a day later what waits for a probe."""
        for key, hold in list(self.active.items()):
            if hold.until < now - (DAY_SECONDS if hold.probe else 0.0):
                del self.active[key]

    def clear(self, key: HoldKey) -> HoldChange | None:
        """End a hold because an operator says so; None where there is none."""
        if key not in self.active:
            return None
        self._failures.pop(key.api, None)
        return self._end(key, HoldAction.CLEARED)

    def follow(self, change: HoldChange, now: float) -> None:
        """Take over what happened to a hold elsewhere."""
        hold = self.active.get(change.key)
        match change.action:
            case HoldAction.BEGUN | HoldAction.EXTENDED:
                failures = 0 if hold is None else hold.failures
                self.active[change.key] = Hold(change.reason, now, change.until, change.probe, failures)
            case HoldAction.INCONCLUSIVE:
                if hold is not None:
                    hold.probing = None
            case _:
                self.active.pop(change.key, None)

    def mirror(self, views: Iterable[HoldView], now: float) -> None:
        """Take over which holds there are elsewhere, and no others; what is known of one is kept."""
        before, self.active = self.active, {}
        for view in views:
            hold = before.get(view.key) or Hold(view.reason, now, now, view.probe)
            hold.reason, hold.until, hold.probe = view.reason, now + view.seconds, view.probe
            self.active[view.key] = hold

    def view(self, now: float) -> tuple[HoldView, ...]:
        """All holds for operators, at once."""
        return tuple(self.each(now))

    def each(self, now: float) -> Iterator[HoldView]:
        """The same, made as they are taken; holds may begin and end in between."""
        for key, hold in list(self.active.items()):
            if hold.probe or hold.until > now:
                seconds = max(0.0, hold.until - now)
                yield HoldView(key, hold.reason, seconds, hold.probing is not None, hold.probe)

    @staticmethod
    def _held_by(
        rule: HoldRule | None, keys: tuple[HoldKey, ...], retry_after: float | None
    ) -> HoldKey | None:
        """Whom `rule` holds; nobody where it needs a `Retry-After` that the response did not carry."""
        if rule is None or (rule.seconds == "retry_after" and retry_after is None):
            return None
        return next((key for key in keys if key.scope is rule.scope), None)

    def _seconds(self, rule: HoldRule, failures: int, retry_after: float | None, random: float) -> float:
        announced = 0.0
        if retry_after is not None:
            announced = min(retry_after, LONGEST_HOLD_SECONDS) + RESET_MARGIN_SECONDS
        match rule.seconds:
            case "retry_after":
                return announced
            case "offline":
                return max(self._times.offline, announced)
            case "backoff":
                return max(self._backoff(failures, random), announced)
            case seconds:
                return float(seconds)

    def _backoff(self, failures: int, random: float) -> float:
        """Doubles with each failure up to the longest; the upper half of it is jitter."""
        longest = min(self._times.backoff * 2.0 ** min(failures, 32), self._times.backoff_max)
        return longest * (0.5 + random / 2)

    def _hold(
        self, key: HoldKey, reason: str, until: float, probe: bool, newer: bool, now: float
    ) -> list[HoldChange]:
        """Begin a hold, begin it anew, or let another answer lengthen it.

        Answers to calls sent before the hold began are echoes of the same event: they never count as
        a new failure and never shorten it; one that lasts longer gives the hold its reason.
        """
        old = self.active.get(key)
        if old is None:
            self.active[key] = Hold(reason, now, until, probe)
            return [HoldChange(HoldAction.BEGUN, key, reason, until, probe)]
        if newer:
            self.active[key] = Hold(reason, now, until, probe, old.failures + 1)
        elif until > old.until:
            old.until, old.reason, old.probe = until, reason, probe
        else:
            return []
        return [HoldChange(HoldAction.EXTENDED, key, reason, until, probe)]

    def _end(self, key: HoldKey, action: HoldAction) -> HoldChange:
        hold = self.active.pop(key)
        return HoldChange(action, key, hold.reason, hold.until, hold.probe)

    def _count_failure(self, key: HoldKey, now: float, random: float) -> list[HoldChange]:
        count = self._failures.get(key.api, 0) + 1
        self._failures[key.api] = count
        if count < BREAKER_FAILURES:
            return []
        del self._failures[key.api]
        return self._hold(key, FAILING, now + self._backoff(0, random), True, False, now)


@lru_cache(maxsize=32_768)
def keys_of(app: str, tenant: str | None, api: str) -> tuple[HoldKey, ...]:
    """Whom a request of `tenant` (None: of no organisation) may be stopped by."""
    everybody = (HoldKey(Scope.APP, app=app), HoldKey(Scope.API, api=api))
    if tenant is None:
        return everybody
    return (HoldKey(Scope.TENANT, app=app, tenant=tenant), *everybody)
