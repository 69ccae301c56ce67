"""Holds: who must not be sent to, until when, and the one request that finds out whether it is over.

A hold begins with an answer that names it (organisation offline, maintenance, a 429 that says when), where
Xero's host cannot be reached, or with repeated failures (`breaker`). When its time is up exactly one request
goes, the probe; everybody else waits for its verdict, but for one that says nothing no longer than
`SILENT_SECONDS`. The rules of who holds what are rows of the response table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from proxy.core.limits.breaker import Breaker
from proxy.core.limits.day import DAY_SECONDS
from proxy.core.model import Execution, HoldKey, HoldRule, HoldView, ResponseClass, Scope

RESET_MARGIN_SECONDS = 0.4
"""Added to a `Retry-After`: servers reset a little later than they say."""
LONGEST_HOLD_SECONDS = 86_400.0
"""No limit of Xero's lasts longer than a day, so a longer `Retry-After` is not believed."""
SILENT_SECONDS = 5.0
"""A probe that has said nothing for so long no longer keeps the others."""
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
    """One hold. `failures` counts how often it has begun anew without a success between. `probing` is the
    latest probe, and `silent_at` when the first of those that are out has been silent for long enough;
    `failed_for` is the organisation whose probe has failed, where that is no verdict yet.
    """

    reason: str
    since: float
    until: float
    probe: bool
    failures: int = 0
    probing: int | None = None
    silent_at: float = -inf
    failed_for: HoldKey | None = None

    def stops_until(self, now: float) -> float:
        """When it can let somebody go, which is no later than `now` where it can at once."""
        return self.until if self.until > now or self.probing is None else self.silent_at


class Holds:
    """All holds, keyed by whom they stop."""

    def __init__(self, times: HoldTimes) -> None:
        self._times = times
        self.active: dict[HoldKey, Hold] = {}
        """Also those whose end has come and that wait for their probe."""
        self._breaker = Breaker()

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
            until = hold.stops_until(now)
            if until > now and (worst is None or until > worst[1].stops_until(now)):
                worst = (key, hold)
        return worst

    def reasons(self, keys: tuple[HoldKey, ...]) -> set[str]:
        """Of those among `keys` that wait for a probe, now or at their end."""
        return {hold.reason for key in keys if (hold := self.active.get(key)) and hold.probe}

    def probe(self, keys: tuple[HoldKey, ...], permit: int, now: float) -> tuple[HoldKey, ...]:
        """Make permit number `permit` the probe of every hold among `keys`; returns which those are.

        Where one is out that says nothing, whoever comes goes beside it, and the wait does not begin anew.
        """
        probed = tuple(key for key in keys if key in self.active)
        for key in probed:
            hold = self.active[key]
            if hold.probing is None:
                hold.silent_at = now + SILENT_SECONDS
            hold.probing = permit
        return probed

    def let_go(self, keys: tuple[HoldKey, ...], permit: int) -> list[HoldChange]:
        """Wait no longer for the verdict of a probe that nobody wants any more."""
        return [self._inconclusive(key) for key in keys if self._probes(key, permit)]

    def settle(
        self,
        keys: tuple[HoldKey, ...],
        permit: int,
        sent_at: float,
        row: ResponseClass,
        retry_after: float | None,
        now: float,
        random: float,
        *,
        again: bool = False,
    ) -> list[HoldChange]:
        """Let an attempt's answer begin, extend or end holds; `random` in [0, 1) is the jitter, `again` as in
        `Settlement`.
        """
        one, api = keys[-4], keys[-2]
        if reached := row.execution is not Execution.NEVER_SENT:
            self._breaker.called(one, now)
        if row.healthy:
            self._breaker.succeeded(one)
        if not (self.active or row.hold or row.breaks):
            return []
        changes: list[HoldChange] = []
        held = self._held_by(row.hold, keys, retry_after)
        for key in keys:
            hold = self.active.get(key)
            probing = self._probes(key, permit)
            newer = hold is not None and (probing or sent_at > hold.since)
            failures = 0 if hold is None else hold.failures + newer
            if row.hold is not None and key == held:
                seconds = self._seconds(row.hold, failures, retry_after, random)
                changes += self._hold(key, row.hold.reason, now + seconds, row.hold.probe, newer, now)
            elif hold is not None and probing and row.breaks and self._failed_again(key, hold, one):
                seconds = self._backoff(failures, random)
                changes += self._hold(key, hold.reason, now + seconds, hold.probe, newer, now)
            elif newer and (row.healthy or (reached and key.scope is Scope.HOST)):
                changes.append(self._end(key, HoldAction.ENDED))
            elif probing:
                changes.append(self._inconclusive(key))
        if row.breaks and not again:
            changes += self._count_failure(one, api, now, now + self._backoff(0, random))
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
        self._breaker.forgive(key)
        return self._end(key, HoldAction.CLEARED)

    def follow(self, change: HoldChange, now: float) -> None:
        """Take over what happened to a hold elsewhere."""
        hold = self.active.get(change.key)
        match change.action:
            case HoldAction.BEGUN | HoldAction.EXTENDED:
                failures = 0 if hold is None else hold.failures
                self.active[change.key] = Hold(change.reason, now, change.until, change.probe, failures)
            case HoldAction.INCONCLUSIVE if hold is not None:
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

    def each(self, now: float) -> Iterator[HoldView]:
        """All holds for operators, made as they are taken; holds may begin and end in between."""
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

    def _count_failure(self, one: HoldKey, api: HoldKey, now: float, until: float) -> list[HoldChange]:
        changes: list[HoldChange] = []
        if one not in self.active and self._breaker.failed(one):
            changes += self._hold(one, FAILING, until, True, False, now)
        if api not in self.active and self._breaker.failed_all(one, now):
            changes += self._hold(api, FAILING, until, True, False, now)
        return changes

    def _probes(self, key: HoldKey, permit: int) -> bool:
        hold = self.active.get(key)
        return hold is not None and hold.probing == permit

    def _inconclusive(self, key: HoldKey) -> HoldChange:
        hold = self.active[key]
        hold.probing = None
        return HoldChange(HoldAction.INCONCLUSIVE, key, hold.reason, hold.until, hold.probe)

    @staticmethod
    def _failed_again(key: HoldKey, hold: Hold, one: HoldKey) -> bool:
        """Whether a probe's failure begins the hold anew: an API's only where those of two organisations
        failed one after the other.
        """
        if key.scope is Scope.API and hold.failed_for in {None, one}:
            hold.failed_for = one
            return False
        return key.scope in {Scope.API, Scope.TENANT_API}
