"""`/_simulator/…`: what a test or a demo asks of a running simulator. JSON both ways, never in the ledger.

`CALLS` and `ORDERS` are all there is; `--help` and the reference are written from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from proxy.simulator.answers import Answer, SimRequest, as_json
from proxy.simulator.faults import FAILURES, Fault, FaultKind
from proxy.simulator.xero import Xero

PREFIX = "/_simulator"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MOST = 1_000_000
LONGEST_SECONDS = 10 * 365 * 86400

CALLS = {
    "GET /_simulator/": "a summary: peaks, foreign calls, 429s, statuses, writes executed twice",
    "GET /_simulator/ledger": "what arrived, oldest first; `?after=SEQUENCE` leaves the older ones out",
    "GET /_simulator/clock": "the simulator's clock",
    "POST /_simulator/clock": 'puts it forward: `{"advance": SECONDS}`',
    "POST /_simulator/faults": "makes things go wrong: an object with any of the members below",
    "DELETE /_simulator/faults": "ends outages and takes back failures that nobody has met yet",
    "POST /_simulator/reset": "forgets everything that happened",
}
"""Every call, and what it does."""


class BadOrder(Exception):
    """A control call that means nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a member may hold: in words that end "must be …", and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    )


TEXT = Value("a text that is not empty", lambda value: isinstance(value, str) and bool(value))
SECONDS = Value("a number of seconds, from 0 to 10 years", _number(0, LONGEST_SECONDS))
COUNT = Value(f"a whole number, 1 to {MOST:,}", lambda v: isinstance(v, int) and _number(1, MOST)(v))
RATE = Value(f"a number, 0 to {MOST:,}", _number(0, MOST))
FLAG = Value("true or false", lambda value: isinstance(value, bool))
TRUE = Value("true", lambda value: value is True)
METHOD = Value("a method in capitals, such as PUT", lambda value: value in METHODS)
KIND = Value(f"one of {', '.join(FaultKind)}", lambda value: value in list(FaultKind))

Members = Mapping[str, Value]
"""The members of an object; those that may be left out end in `?`."""


@dataclass(frozen=True, slots=True)
class Order:
    """A member of `POST /_simulator/faults`: what it holds, what it does, and an example of it."""

    holds: Value | Members
    text: str
    example: str
    carry_out: Callable[[Xero, float, Any], None]


@dataclass(frozen=True, slots=True)
class Controls:
    """What of a running simulator can be seen and changed."""

    xero: Xero
    now: Callable[[], float]
    advance: Callable[[float], None]
    reset: Callable[[], None]


def is_control(path: str) -> bool:
    """Whether a path is a control call's."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def control(controls: Controls, request: SimRequest) -> Answer:
    """Answer one control call."""
    try:
        return as_json(200, _control(controls, request))
    except LookupError as error:
        return as_json(404, {"error": str(error.args[0])})
    except BadOrder as error:
        return as_json(400, {"error": str(error)})


def _control(controls: Controls, request: SimRequest) -> object:
    xero = controls.xero
    match (request.method, request.path.removeprefix(PREFIX).strip("/")):
        case ("GET", ""):
            return _summary(xero, controls.now())
        case ("GET", "ledger"):
            return _entries(xero, request.query.get("after", "0"))
        case ("POST", "reset"):
            controls.reset()
        case ("GET", "clock"):
            pass
        case ("POST", "clock"):
            controls.advance(_checked("the body", {"advance": SECONDS}, _body(request))["advance"])
        case ("POST", "faults"):
            _carry_out(xero, controls.now(), _body(request))
        case ("DELETE", "faults"):
            xero.faults.clear()
        case (method, path):
            raise LookupError(f"there is no {method} {PREFIX}/{path}; there are {', '.join(CALLS)}")
    now = controls.now()
    return {"now": now, "wall": xero.options.epoch + now}


def _entries(xero: Xero, after: str) -> object:
    try:
        least = int(after)
    except ValueError:
        raise BadOrder("after must be a whole number") from None
    return {"entries": [asdict(entry) for entry in xero.ledger.entries if entry.sequence > least]}


def _carry_out(xero: Xero, now: float, orders: Any) -> None:
    """All of them are looked at before the first is carried out."""
    given = _checked("the body", {f"{name}?": ANYTHING for name in ORDERS}, orders)
    for act in [_act(xero, now, name, value) for name, value in given.items()]:
        act()


def _body(request: SimRequest) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        raise BadOrder("the body must be JSON") from None


def _checked(name: str, holds: Value | Members, given: Any) -> Any:
    """`given`, if it is what `name` holds. BadOrder that says what is wrong with it."""
    if isinstance(holds, Value):
        if not holds.fits(given):
            raise BadOrder(f"{name} must be {holds.words}")
        return given
    members = {member.rstrip("?"): value for member, value in holds.items()}
    known = ", ".join(members)
    if not isinstance(given, dict):
        raise BadOrder(f"{name} must be an object with the members {known}")
    for member in given:
        if member not in members:
            raise BadOrder(f"{name} has no member {member}; it has {known}")
    for member in holds:
        if not member.endswith("?") and member not in given:
            raise BadOrder(f"{name} needs the member {member}")
    return {member: _checked(member, members[member], value) for member, value in given.items()}


def _act(xero: Xero, now: float, name: str, value: Any) -> Callable[[], None]:
    order = ORDERS[name]
    checked = _checked(name, order.holds, value)
    if name == "foreign" and ("calls" in checked) == ("per_minute" in checked):
        raise BadOrder("foreign needs one of the members calls and per_minute")
    return partial(order.carry_out, xero, now, checked)


def _offline(xero: Xero, now: float, of: dict[str, Any]) -> None:
    xero.faults.offline(of["tenant"], now + of.get("seconds", float("inf")))


def _fail_next(xero: Xero, _now: float, of: dict[str, Any]) -> None:
    fault = Fault(FaultKind(of["kind"]), of.get("tenant"), of.get("method"), of.get("executed", False))
    xero.faults.fail_next(of.get("times", 1), fault)


def _foreign(xero: Xero, now: float, of: dict[str, Any]) -> None:
    if "per_minute" in of:
        xero.foreign_rate(of["tenant"], of["per_minute"], now)
    for _ in range(of.get("calls", 0)):
        xero.foreign_call(of["tenant"], now)


ANYTHING = Value("anything", lambda _: True)
ORDERS = {
    "fail_next": Order(
        {"kind": KIND, "times?": COUNT, "tenant?": TEXT, "method?": METHOD, "executed?": FLAG},
        "fails the next call, or the next `times`, of this tenant and method where they are given",
        '{"kind": "lost_reply", "times": 2, "tenant": "demo", "method": "PUT"}',
        _fail_next,
    ),
    "offline": Order(
        {"tenant": TEXT, "seconds?": SECONDS},
        "503 `The Organisation is offline`, for so long or until `online`",
        '{"tenant": "demo", "seconds": 60}',
        _offline,
    ),
    "online": Order(TEXT, "ends `offline`", '"demo"', lambda xero, _, tenant: xero.faults.online(tenant)),
    "maintenance": Order(
        SECONDS,
        "503 `The Xero API is currently offline for maintenance`, for everybody",
        "60",
        lambda xero, now, seconds: xero.faults.maintenance(now + seconds),
    ),
    "unavailable": Order(
        SECONDS,
        "503 `The Xero API is temporarily unavailable`, for everybody",
        "60",
        lambda xero, now, seconds: xero.faults.unavailable(now + seconds),
    ),
    "keys_down": Order(
        SECONDS,
        "500 for every call with an `Idempotency-Key`: Xero's store of keys is away",
        "60",
        lambda xero, now, seconds: xero.faults.keys_down(now + seconds),
    ),
    "expire_tokens": Order(
        TRUE,
        "401 `TokenExpired` for every access token that was seen or issued so far",
        "true",
        lambda xero, now, _: xero.expire_tokens(now),
    ),
    "foreign": Order(
        {"tenant": TEXT, "calls?": COUNT, "per_minute?": RATE},
        "somebody else's calls, which count: so many now, or so many a minute from now on",
        '{"tenant": "demo", "per_minute": 24}',
        _foreign,
    ),
}
"""Every member of `POST /_simulator/faults`."""


def help_text() -> str:
    """Everything that can be asked of a running simulator, for people at a terminal."""
    calls = [f"  {call:<27}{text}" for call, text in CALLS.items()]
    orders = [f'  {{"{name}": {order.example}}}\n        {order.text}' for name, order in ORDERS.items()]
    kinds = [f"  {kind:<20}{each.executed:<11}{each.text}" for kind, each in FAILURES.items()]
    parts = (
        ("a running simulator listens to JSON:", calls),
        ("what POST /_simulator/faults takes, alone or together:", orders),
        ("kinds of failures, and whether Xero carries the call out all the same:", kinds),
    )
    return "\n\n".join("\n".join((title, *lines)) for title, lines in parts).replace("`", "")


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
