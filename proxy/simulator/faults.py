"""Everything that goes wrong on request: outages with an end, and failures of the next calls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from proxy.simulator import answers
from proxy.simulator.answers import Answer


class FaultKind(StrEnum):
    """How a call fails.

    The connection: `reset_before` drops it unexecuted, `lost_reply` executes and drops it without
    an answer, `truncate` and `slow_body` execute and then spoil the answer's body, `hang` never
    answers, `garbage` answers with something that is not HTTP. The rest are answers.
    """

    INTERNAL_ERROR = "500"
    BAD_GATEWAY = "502"
    EDGE_UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    DISCONNECTED = "disconnected"
    RESET_BEFORE = "reset_before"
    LOST_REPLY = "lost_reply"
    TRUNCATE = "truncate"
    SLOW_BODY = "slow_body"
    HANG = "hang"
    GARBAGE = "garbage"


ALWAYS_EXECUTED = frozenset({FaultKind.LOST_REPLY, FaultKind.TRUNCATE, FaultKind.SLOW_BODY})
GATES = frozenset({FaultKind.INSUFFICIENT_SCOPE, FaultKind.DISCONNECTED})
"""What stands before the limits."""
NEVER_EXECUTED = GATES | {FaultKind.RESET_BEFORE}


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure and the calls that it waits for; None means any."""

    kind: FaultKind
    tenant: str | None = None
    method: str | None = None
    executed: bool = False
    """Whether Xero carries the call out before it fails; some kinds leave no choice."""

    def meets(self, tenant: str, method: str) -> bool:
        """Whether a call of this tenant and method is one that it waits for."""
        return self.tenant in {None, tenant} and self.method in {None, method}


class Faults:
    """What is wrong now. Times are seconds of the simulator's clock."""

    def __init__(self) -> None:
        self._offline: dict[str, float] = {}
        self._maintenance_until = -math.inf
        self._unavailable_until = -math.inf
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

    def fail_next(self, times: int, fault: Fault) -> None:
        """Fail the next `times` calls that `fault` waits for and that no limit refuses."""
        executed = (fault.executed or fault.kind in ALWAYS_EXECUTED) and fault.kind not in NEVER_EXECUTED
        self._next += [Fault(fault.kind, fault.tenant, fault.method, executed)] * times

    def clear(self) -> None:
        """Nothing is wrong any more."""
        self._offline.clear()
        self._next.clear()
        self._maintenance_until = self._unavailable_until = -math.inf

    def outage(self, now: float) -> Answer | None:
        """The answer of an API that is down for everybody, if it is."""
        if now < self._maintenance_until:
            return answers.MAINTENANCE
        return answers.UNAVAILABLE if now < self._unavailable_until else None

    def is_offline(self, tenant: str, now: float) -> bool:
        """Whether this organisation is offline."""
        return now < self._offline.get(tenant, -math.inf)

    def pop(self, tenant: str, method: str, *, gate: bool = False) -> Fault | None:
        """The failure that waits for this call, if there is one; it waits no longer.

        `gate` asks for what stands before the limits (`GATES`), otherwise for what stands behind.
        """
        for index, fault in enumerate(self._next):
            if fault.meets(tenant, method) and (fault.kind in GATES) is gate:
                return self._next.pop(index)
        return None
