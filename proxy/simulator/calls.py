"""A call on its way through the simulator, and what was decided about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.simulator.answers import Answer, SimRequest
from proxy.simulator.faults import Fate, Fault, Place

NO_ANSWER = Answer(0)
"""Where nothing that is HTTP will be sent."""


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
    foreign: bool = False
    """A gateway speaks in Xero's place."""
    kept: bool = False
    """The answer is kept under the call's key, if it has one."""
    not_before: float = 0.0
    """A repeat waits for the answer to the first; on the simulator's clock."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that arrived: its answer, when that is complete, and what happens to it."""

    sequence: int
    answer: Answer
    done_at: float
    fate: Fate


_NEVER_HTTP = frozenset({Fate.RESET, Fate.HUNG, Fate.GARBAGE})


def spoilt(fault: Fault | None, decision: Decision) -> Decision:
    """The decision after a fault had its way with the answer."""
    if fault is None or fault.failure.place is not Place.WAY:
        return decision
    failure = fault.failure
    if failure.fate in _NEVER_HTTP:
        return replace(decision, answer=NO_ANSWER, fate=failure.fate)
    if failure.answer:
        return replace(decision, answer=failure.answer(""), foreign=True)
    return replace(decision, fate=failure.fate)
