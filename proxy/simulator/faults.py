"""Everything that goes wrong on request: outages with an end, and failures of the next calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from proxy.core.model import Limit
from proxy.simulator import answers
from proxy.simulator.answers import Answer


class Fate(StrEnum):
    """What happens to an answer on its way."""

    ANSWERED = "answered"
    RESET = "reset"
    TRUNCATED = "truncated"
    SLOW = "slow"
    HUNG = "hung"
    GARBAGE = "garbage"


class FaultKind(StrEnum):
    """How a call fails; `FAILURES` says what each is."""

    LIMIT_MINUTE = "429_minute"
    LIMIT_DAY = "429_day"
    LIMIT_CONCURRENT = "429_concurrent"
    LIMIT_APP_MINUTE = "429_appminute"
    LIMIT_OAUTH1 = "503_oauth1"
    UNAUTHORISED = "unauthorised"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    OAUTH1 = "oauth1"
    DISCONNECTED = "disconnected"
    CLIENT_CERTIFICATE = "client_certificate"
    INVALID_PROJECT = "400_projects"
    INVALID_FILE = "400_files"
    INVALID_ASSET = "400_assets"
    INVALID_PAYROLL = "400_payroll"
    HIGH_VOLUME = "high_volume"
    PRECONDITION = "412"
    TEAPOT = "418"
    INTERNAL_ERROR = "500"
    NGINX_ERROR = "500_html"
    BAD_GATEWAY = "502"
    EDGE_UNAVAILABLE = "503"
    FINANCE_UNAVAILABLE = "503_finance"
    GATEWAY_TIMEOUT = "504"
    RESET_BEFORE = "reset_before"
    LOST_REPLY = "lost_reply"
    TRUNCATE = "truncate"
    SLOW_BODY = "slow_body"
    HANG = "hang"
    GARBAGE = "garbage"


class Place(StrEnum):
    """Where on its way a call fails."""

    GATE = "before the limits"
    """Nothing is counted."""
    XERO = "in Xero"
    """Xero itself answers, and keeps the answer under the call's idempotency key."""
    WAY = "on the way back"
    """Something between the two answers, or nobody does."""


class Executed(StrEnum):
    """Whether a call that fails is carried out."""

    NO = "no"
    ASKED = "if asked"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Failure:
    """What a kind of failure is; `answer` makes Xero's or the gateway's, given the call's instance."""

    text: str
    place: Place
    executed: Executed
    answer: Callable[[str], Answer] | None = None
    fate: Fate = Fate.ANSWERED
    limit: Limit | None = None
    """Of a 429: the limit that it says is spent."""


def _limit(text: str, limit: Limit, seconds: int | None) -> Failure:
    answer = answers.too_many(limit, seconds)
    return Failure(text, Place.GATE, Executed.NO, lambda _: answer, limit=limit)


def _gate(text: str, answer: Callable[[str], Answer]) -> Failure:
    return Failure(text, Place.GATE, Executed.NO, answer)


def _xero(text: str, answer: Callable[[str], Answer], executed: Executed = Executed.NO) -> Failure:
    return Failure(text, Place.XERO, executed, answer)


def _gateway(text: str, answer: Answer) -> Failure:
    return Failure(text, Place.WAY, Executed.ASKED, lambda _: answer)


def _way(text: str, fate: Fate, executed: Executed) -> Failure:
    return Failure(text, Place.WAY, executed, fate=fate)


FAILURES = {
    FaultKind.LIMIT_MINUTE: _limit("429: the minute is spent, `Retry-After: 22`", Limit.MINUTE, 22),
    FaultKind.LIMIT_DAY: _limit("429: the day is spent, `Retry-After: 33519`", Limit.DAY, 33519),
    FaultKind.LIMIT_CONCURRENT: _limit("429: too many at once, no `Retry-After`", Limit.CONCURRENT, None),
    FaultKind.LIMIT_APP_MINUTE: _limit(
        "429: the app's minute is spent, `Retry-After: 22`", Limit.APP_MINUTE, 22
    ),
    FaultKind.LIMIT_OAUTH1: _gate(
        "503 with a form: the rate limit, as of OAuth 1", lambda _: answers.OAUTH1_LIMIT
    ),
    FaultKind.UNAUTHORISED: _gate(
        "401 `AuthenticationUnsuccessful`: the token is bad", answers.unauthenticated
    ),
    FaultKind.INSUFFICIENT_SCOPE: _gate(
        "401 `AuthorizationUnsuccessful`: the token lacks a scope", answers.insufficient_scope
    ),
    FaultKind.OAUTH1: _gate("401 with a form instead of JSON, as of OAuth 1", lambda _: answers.OAUTH1),
    FaultKind.DISCONNECTED: _gate(
        "403: the token is not connected to the organisation", answers.wrong_tenant
    ),
    FaultKind.CLIENT_CERTIFICATE: _gate(
        "403 in HTML: the client certificate is invalid", lambda _: answers.CLIENT_CERTIFICATE
    ),
    FaultKind.INVALID_PROJECT: _xero("400 as of Projects: `modelState`", lambda _: answers.INVALID_PROJECT),
    FaultKind.INVALID_FILE: _xero("400 as of Files: a list", lambda _: answers.INVALID_FILE),
    FaultKind.INVALID_ASSET: _xero(
        "400 as of Assets: `fieldValidationErrors`", lambda _: answers.INVALID_ASSET
    ),
    FaultKind.INVALID_PAYROLL: _xero("400 as of Payroll: `invalidFields`", lambda _: answers.INVALID_PAYROLL),
    FaultKind.HIGH_VOLUME: _xero(
        "400 `HighVolumeException`: too many records to answer", lambda _: answers.HIGH_VOLUME
    ),
    FaultKind.PRECONDITION: _xero("412", lambda _: answers.PRECONDITION),
    FaultKind.TEAPOT: _xero("418 in HTML", lambda _: answers.TEAPOT),
    FaultKind.INTERNAL_ERROR: _xero("500 in JSON", answers.internal_error, Executed.ASKED),
    FaultKind.NGINX_ERROR: _gateway("500 in HTML", answers.NGINX_ERROR),
    FaultKind.BAD_GATEWAY: _gateway("502 in HTML", answers.BAD_GATEWAY),
    FaultKind.EDGE_UNAVAILABLE: _gateway("503 in HTML, `Zero size object`", answers.EDGE_UNAVAILABLE),
    FaultKind.FINANCE_UNAVAILABLE: _gateway(
        "503 as of Finance: `service-unavailable`", answers.FINANCE_UNAVAILABLE
    ),
    FaultKind.GATEWAY_TIMEOUT: _gateway("504 without a body", answers.GATEWAY_TIMEOUT),
    FaultKind.RESET_BEFORE: _way("the connection is reset at once", Fate.RESET, Executed.NO),
    FaultKind.LOST_REPLY: _way("the connection is reset instead of an answer", Fate.RESET, Executed.YES),
    FaultKind.TRUNCATE: _way("the connection ends in the middle of the body", Fate.TRUNCATED, Executed.YES),
    FaultKind.SLOW_BODY: _way("the body comes in eight pieces, one a second", Fate.SLOW, Executed.YES),
    FaultKind.HANG: _way("no answer; after 300 s a reset", Fate.HUNG, Executed.ASKED),
    FaultKind.GARBAGE: _way("something that is not HTTP", Fate.GARBAGE, Executed.ASKED),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure and the calls that it waits for; None means any."""

    kind: FaultKind
    tenant: str | None = None
    method: str | None = None
    executed: bool = False
    """Whether Xero carries the call out before it fails; some kinds leave no choice."""

    @property
    def failure(self) -> Failure:
        """What happens."""
        return FAILURES[self.kind]

    def meets(self, tenant: str, method: str) -> bool:
        """Whether a call of this tenant and method is one that it waits for."""
        return self.tenant in {None, tenant} and self.method in {None, method}


class Faults:
    """What is wrong now. Times are seconds of the simulator's clock."""

    def __init__(self) -> None:
        self._offline: dict[str, float] = {}
        self._maintenance_until = -math.inf
        self._unavailable_until = -math.inf
        self._keys_down_until = -math.inf
        self._next: list[Fault] = []

    def offline(self, tenant: str, until: float = math.inf) -> None:
        """Take an organisation offline; without `until`, until it is `online`."""
        self._offline[tenant] = until

    def online(self, tenant: str) -> None:
        """End what `offline` began."""
        self._offline.pop(tenant, None)

    def maintenance(self, until: float) -> None:
        """Every call to the API is answered with the maintenance 503."""
        self._maintenance_until = until

    def unavailable(self, until: float) -> None:
        """Every call to the API is answered with the temporarily unavailable 503."""
        self._unavailable_until = until

    def keys_down(self, until: float) -> None:
        """Every call with an idempotency key is answered 500, and nothing is kept under its key."""
        self._keys_down_until = until

    def fail_next(self, times: int, fault: Fault) -> None:
        """Fail the next `times` calls that `fault` waits for and that no limit refuses."""
        may = fault.failure.executed
        executed = may is Executed.YES or (may is Executed.ASKED and fault.executed)
        self._next += [replace(fault, executed=executed)] * times

    def clear(self) -> None:
        """Nothing is wrong any more."""
        self._offline.clear()
        self._next.clear()
        self._maintenance_until = self._unavailable_until = self._keys_down_until = -math.inf

    def outage(self, now: float) -> Answer | None:
        """The answer of an API that is down for everybody, if it is."""
        if now < self._maintenance_until:
            return answers.MAINTENANCE
        return answers.UNAVAILABLE if now < self._unavailable_until else None

    def is_offline(self, tenant: str, now: float) -> bool:
        """Whether this organisation is offline."""
        return now < self._offline.get(tenant, -math.inf)

    def are_keys_down(self, now: float) -> bool:
        """Whether Xero's store of idempotency keys is away."""
        return now < self._keys_down_until

    def pop(self, tenant: str, method: str, *, gate: bool = False) -> Fault | None:
        """The failure that waits for this call, if there is one; it waits no longer.

        `gate` asks for what stands before the limits, otherwise for what stands behind.
        """
        for index, fault in enumerate(self._next):
            if fault.meets(tenant, method) and (fault.failure.place is Place.GATE) is gate:
                return self._next.pop(index)
        return None
