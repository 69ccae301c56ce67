"""The answers that the proxy makes itself.

They look like Xero's own where Xero has one. Every other body holds the members of RFC 9457 and those that
Xero's SDKs read. Nothing that the caller sent is repeated in them, and no 503 body holds an equals sign:
pyxero takes that for an OAuth 1 problem.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import NamedTuple

from proxy.core.model import UNKNOWN, Headers, Left, Limit

TEXTS = {
    "offline": b"The Organisation is offline",
    "maintenance": b"The Xero API is currently offline for maintenance",
    "unavailable": b"The Xero API is temporarily unavailable",
}
"""Bodies of Xero's own 503 answers, by the reason of the hold that repeats them."""

PROBLEM_JSON = b"application/problem+json"
_NEVER = re.compile(rb"q=0(\.0*)?")

STATUSES = {
    "queue_full": 503,
    "draining": 503,
    "spool_full": 503,
    "refused_failing": 503,
    "refused_deadline": 503,
    "body_too_large": 413,
    "body_timeout": 408,
    "invalid_request": 400,
    "tenant_invalid": 400,
    "method_not_allowed": 405,
    "misdirected": 421,
    "internal": 500,
    "connect_failed": 502,
    "dns_failed": 502,
    "tls_failed": 502,
    "upstream_reset": 502,
    "upstream_truncated": 502,
    "upstream_garbage": 502,
    "upstream_timeout": 504,
    "outcome_unknown": 502,
}
"""The status of each class that the proxy answers with, besides the refusals by limits."""

ERRORS = {
    "body_too_large": "http_request_error",
    "body_timeout": "http_request_error",
    "invalid_request": "http_request_error",
    "tenant_invalid": "http_request_error",
    "method_not_allowed": "http_request_error",
    "misdirected": "http_request_error",
    "internal": "proxy_internal_error",
    "spool_full": "proxy_internal_error",
    "refused_offline": "destination_unavailable",
    "refused_maintenance": "destination_unavailable",
    "refused_unavailable": "destination_unavailable",
    "refused_failing": "destination_unavailable",
    "outcome_unknown": "connection_terminated",
}
"""RFC 9209 error types; a failed attempt brings its own, everything else was denied by policy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response of the proxy's own; `name` is its row in the response table."""

    name: str
    status: int
    headers: Headers
    body: bytes
    error: str


class Asked(NamedTuple):
    """What an answer depends on besides its reason: the request's id, its `Accept`, the setting
    `RETRY_AFTER_MAX_SECONDS`, and whether Xero may have executed the request.
    """

    id: str
    accept: bytes = b""
    retry_after_max: float = 300.0
    unknown: bool = False


def failed(
    name: str,
    detail: str,
    asked: Asked,
    *,
    status: int | None = None,
    error: str = "",
    retry_after: float | None = None,
) -> Answer:
    """A plain error: `name` is a class of the response table, `detail` a sentence for people."""
    kind = error or ERRORS.get(name, "http_request_denied")
    return _problem(name, status or STATUSES[name], detail, asked, kind, (), retry_after)


def expired(asked: Asked) -> Answer:
    """Xero's own 401 of a token that has expired, to one of which Xero has just said so."""
    challenge = b"Bearer error=invalid_token"
    return _unauthorized("refused_expired", "TokenExpired: token expired", challenge, asked)


def _unauthorized(name: str, detail: str, challenge: bytes, asked: Asked) -> Answer:
    members: dict[str, object] = {
        "Type": None,
        "Title": "Unauthorized",
        "Status": 401,
        "Detail": detail,
        "Instance": _instance(asked),
        "Extensions": {},
    }
    headers = (
        (b"Content-Type", b"application/json; charset=utf-8"),
        (b"WWW-Authenticate", challenge),
    )
    return Answer(name, 401, headers, json.dumps(members).encode(), "http_request_denied")


def unrouted(name: str, asked: Asked) -> Answer:
    """A request that goes nowhere, by the class that `route` gives for it; without credentials it gets
    Xero's own 401, as it would there.
    """
    match name:
        case "unauthenticated":
            return _unauthorized(name, "AuthenticationUnsuccessful", b"Bearer", asked)
        case "tenant_invalid":
            detail = "Xero-Tenant-Id is not one name of at most 100 printable characters."
            return failed(name, detail, asked)
        case _:
            return failed(name, "The request target is not a path.", asked)


def refused(
    name: str,
    limit: str,
    seconds: float,
    when: str,
    asked: Asked,
    left: Left = UNKNOWN,
    *,
    known: bool = True,
) -> Answer:
    """A request that cannot run in time. `limit` is what stands in the way (empty: nothing that is known),
    `seconds` the time until it could run, `when` the same as a date for people; `name` is empty or says why
    else it was refused. Where the time is not `known`, none is told. `left` is what the limits leave.
    """
    wait = max(1, ceil(seconds)) if known else None
    if limit in TEXTS and name != "draining":
        headers: Headers = ((b"Content-Type", b"text/plain; charset=utf-8"), *_retry_after(wait, asked))
        return Answer(name or f"refused_{limit}", 503, headers, TEXTS[limit], ERRORS["refused_offline"])
    limited = name != "draining" and limit in _LIMIT_NAMES
    name = name or (f"refused_{limit}" if limited else _UNNAMED.get(limit, "refused_deadline"))
    reason = f"The {_LIMIT_NAMES[limit]} would be exceeded." if limited else _REASONS[name]
    if limit == Limit.DAY and left.day_limit is not None:
        reason += f" It is spent: 0 of {left.day_limit:,} are left."
    detail = f"{reason} {_when(wait, when, asked)}"
    error = ERRORS.get(name, "http_request_denied")
    if not limited:
        return _problem(name, 503, detail, asked, error, (), wait)
    problem = ((b"X-Rate-Limit-Problem", limit.encode()), *_remaining(limit, left))
    return _problem(name, 429, detail, asked, error, problem, wait)


def told_later(name: str, status: int, reason: str, seconds: float, when: str, asked: Asked) -> Answer:
    """What stands in the place of the body of a 429 or 503 of Xero's, of the class `name`, whose
    `Retry-After` is too long to be passed on; `reason` is what it names, empty where that is nothing.
    """
    said = f"Xero answered {status}."
    if reason in _LIMIT_NAMES:
        said = f"The {_LIMIT_NAMES[reason]} is exceeded."
    elif reason in TEXTS:
        said = f"{TEXTS[reason].decode()}."
    detail = f"{said} {_when(max(1, ceil(seconds)), when, asked)}"
    return _problem(name, status, detail, asked, "", (), None)


def _when(wait: int | None, when: str, asked: Asked) -> str:
    if wait is None:
        done = "The request may have been executed" if asked.unknown else "Nothing was executed"
        return f"{done}. When the day ends, nobody knows until Xero says so; now and then one request asks."
    if asked.unknown:
        return f"The request may have been executed; it could be sent again in {wait} s, at {when}."
    return f"Nothing was executed; the request could be sent in {wait} s, at {when}."


def _remaining(limit: str, left: Left) -> Headers:
    """The fields by which SDKs choose their exception, by the first that is 0: the one that refuses alone."""
    numbers = {Limit.MINUTE: left.minute, Limit.DAY: left.day, Limit.APP_MINUTE: left.app_minute}
    told = {each: 0 if each == limit else number for each, number in numbers.items()}
    return tuple(
        (_FIELDS[each], b"%d" % (number or 0)) for each, number in told.items() if number or each == limit
    )


_FIELDS = {
    Limit.MINUTE: b"X-MinLimit-Remaining",
    Limit.DAY: b"X-DayLimit-Remaining",
    Limit.APP_MINUTE: b"X-AppMinLimit-Remaining",
}
_UNNAMED = {"failing": "refused_failing"}
_REASONS = {
    "queue_full": "Too many requests are waiting.",
    "draining": "The proxy is shutting down.",
    "refused_failing": "Xero has been failing, and one request at a time finds out whether it still is.",
    "refused_deadline": "The request could not be sent before its deadline.",
}
_LIMIT_NAMES: dict[str, str] = {
    Limit.MINUTE: "limit of calls a minute for this organisation",
    Limit.DAY: "limit of calls a day for this organisation",
    Limit.CONCURRENT: "limit of concurrent calls for this organisation",
    Limit.APP_MINUTE: "limit of calls a minute for this app over all organisations",
}


def _problem(
    name: str,
    status: int,
    detail: str,
    asked: Asked,
    error: str,
    more: Headers,
    retry_after: float | None,
) -> Answer:
    title = HTTPStatus(status).phrase
    members = {
        "type": f"urn:xero-proxy:class:{name}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": _instance(asked),
        "Type": name,
        "ErrorNumber": 0,
        "Title": title,
        "Status": status,
        "Detail": detail,
        "Message": detail,
        "Elements": [],
    }
    media = PROBLEM_JSON if _accepts_problems(asked.accept) else b"application/json"
    headers = ((b"Content-Type", media), *more)
    if retry_after is not None:
        headers = (*headers, *_retry_after(max(1, ceil(retry_after)), asked))
    body = json.dumps(members).replace("=", "\\u003d").encode()
    return Answer(name, status, headers, body, error)


def _instance(asked: Asked) -> str:
    return f"urn:xero-proxy:request:{asked.id}"


def _accepts_problems(accept: bytes) -> bool:
    """Whether `Accept` names the type of RFC 9457, and not to refuse it."""
    for item in accept.lower().split(b","):
        media, *parameters = item.replace(b" ", b"").replace(b"\t", b"").split(b";")
        if media == PROBLEM_JSON:
            return not any(_NEVER.fullmatch(parameter) for parameter in parameters)
    return False


def _retry_after(seconds: int | None, asked: Asked) -> Headers:
    """Nothing where nobody knows, or the wait is long: SDKs sleep on it for hours in a caller's thread."""
    if seconds is None or seconds > asked.retry_after_max:
        return ()
    return ((b"Retry-After", str(seconds).encode()),)
