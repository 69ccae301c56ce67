"""`/_simulator/…`: what a test or a demo asks of a running simulator. JSON both ways, never in the ledger.

GET  /_simulator/          peaks and foreign calls by tenant, 429s by limit, statuses, duplicate writes
GET  /_simulator/ledger    entries, oldest first; ?after=SEQUENCE leaves the older ones out
POST /_simulator/reset     forget everything
GET  /_simulator/clock     {"now", "wall"}          POST {"advance": SECONDS}
POST /_simulator/faults    any of the members below   DELETE ends them all

{"offline": {"tenant": T, "seconds": S}}   {"online": T}   {"maintenance": S}   {"unavailable": S}
{"fail_next": {"times": N, "kind": K, "tenant": T, "method": M, "executed": B}}   {"expire_tokens": true}
{"foreign": {"tenant": T, "calls": N}}   {"foreign": {"tenant": T, "per_minute": R}}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from proxy.simulator.answers import Answer, SimRequest, as_json
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.xero import Xero

PREFIX = "/_simulator/"


@dataclass(frozen=True, slots=True)
class Controls:
    """What of a running simulator can be seen and changed."""

    xero: Xero
    now: Callable[[], float]
    advance: Callable[[float], None]
    reset: Callable[[], None]


def control(controls: Controls, request: SimRequest) -> Answer:
    """Answer one control call."""
    try:
        order = json.loads(request.body) if request.body.strip() else {}
        return as_json(200, _control(controls, request, order))
    except LookupError as error:
        return as_json(404, {"error": f"no such call or member: {error}"})
    except (AttributeError, TypeError, ValueError) as error:
        return as_json(400, {"error": str(error)})


def _control(controls: Controls, request: SimRequest, order: dict[str, Any]) -> object:
    xero = controls.xero
    match (request.method, request.path.removeprefix(PREFIX)):
        case ("GET", ""):
            return _summary(xero, controls.now())
        case ("GET", "ledger"):
            after = int(request.query.get("after", "0"))
            return {"entries": [asdict(e) for e in xero.ledger.entries if e.sequence > after]}
        case ("POST", "reset"):
            controls.reset()
        case ("GET", "clock"):
            pass
        case ("POST", "clock"):
            controls.advance(float(order["advance"]))
        case ("POST", "faults"):
            for name, value in order.items():
                _fault(xero, controls.now(), name, value)
        case ("DELETE", "faults"):
            xero.faults.clear()
        case (method, path):
            raise LookupError(f"{method} {path}")
    now = controls.now()
    return {"now": now, "wall": xero.options.epoch + now}


def _fault(xero: Xero, now: float, name: str, value: Any) -> None:
    match name:
        case "offline":
            xero.faults.offline(str(value["tenant"]), now + float(value.get("seconds", "inf")))
        case "online":
            xero.faults.online(str(value))
        case "maintenance":
            xero.faults.maintenance(now + float(value))
        case "unavailable":
            xero.faults.unavailable(now + float(value))
        case "fail_next":
            of = {**value}
            times = int(of.pop("times", 1))
            xero.faults.fail_next(times, Fault(FaultKind(of.pop("kind")), **of))
        case "expire_tokens":
            xero.expire_tokens(now)
        case "foreign" if "per_minute" in value:
            xero.foreign_rate(str(value["tenant"]), float(value["per_minute"]), now)
        case "foreign":
            for _ in range(int(value["calls"])):
                xero.foreign_call(str(value["tenant"]), now)
        case _:
            raise LookupError(name)


def _summary(xero: Xero, now: float) -> dict[str, object]:
    ledger = xero.ledger
    return {
        "now": now,
        "arrived": ledger.arrived,
        "in_progress": xero.in_progress(),
        "refused": dict(ledger.refused),
        "statuses": {str(status): times for status, times in sorted(ledger.statuses.items())},
        "duplicates": [{**asdict(write), "times": times} for write, times in ledger.duplicates().items()],
        "tenants": {
            tenant: {
                "peak_rolling": xero.peak_rolling(tenant),
                "peak_concurrent": xero.peak_concurrent(tenant),
                "foreign": xero.foreign_counted(tenant),
            }
            for tenant in xero.tenants()
        },
    }
