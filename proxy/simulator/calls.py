"""A call on its way through the simulator, and what was decided about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from proxy.simulator import answers
from proxy.simulator.answers import Answer, SimRequest
from proxy.simulator.faults import Fault, FaultKind

NO_ANSWER = Answer(0)
"""Where nothing that is HTTP will be sent."""


class Fate(StrEnum):
    """What happens to the answer on its way."""

    ANSWERED = "answered"
    RESET = "reset"
    TRUNCATED = "truncated"
    SLOW = "slow"
    HUNG = "hung"
    GARBAGE = "garbage"


@dataclass(slots=True)
class Call:
    """A call at the gates, which learn its app and tenant. `wall` is seconds since 1970."""

    sequence: int
    request: SimRequest
    now: float
    wall: float
    instance: str
    """The correlation id."""
    app: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a call at the moment it arrived."""

    answer: Answer
    fate: Fate = Fate.ANSWERED
    executed: bool = False
    replayed: bool = False
    refused: bool = False
    """Turned away at a gate: answered as fast as this Xero can."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that arrived: its answer, when that is complete, and what happens to it."""

    sequence: int
    answer: Answer
    done_at: float
    fate: Fate


GATEWAY_ANSWERS = {
    FaultKind.BAD_GATEWAY: answers.BAD_GATEWAY,
    FaultKind.EDGE_UNAVAILABLE: answers.EDGE_UNAVAILABLE,
    FaultKind.GATEWAY_TIMEOUT: answers.GATEWAY_TIMEOUT,
}
_FATES = {
    FaultKind.RESET_BEFORE: Fate.RESET,
    FaultKind.LOST_REPLY: Fate.RESET,
    FaultKind.TRUNCATE: Fate.TRUNCATED,
    FaultKind.SLOW_BODY: Fate.SLOW,
    FaultKind.HANG: Fate.HUNG,
    FaultKind.GARBAGE: Fate.GARBAGE,
}
_NEVER_HTTP = frozenset({Fate.RESET, Fate.HUNG, Fate.GARBAGE})


def spoilt(fault: Fault | None, decision: Decision) -> Decision:
    """The decision after a fault had its way with the answer."""
    if fault is None:
        return decision
    fate = _FATES.get(fault.kind, Fate.ANSWERED)
    answer = NO_ANSWER if fate in _NEVER_HTTP else GATEWAY_ANSWERS.get(fault.kind, decision.answer)
    return replace(decision, answer=answer, fate=fate)
