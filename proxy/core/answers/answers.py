"""The answers that the proxy makes itself.

They look like Xero's own where Xero has one. Every other body holds the members of RFC 9457 and those that
Xero's SDKs read. Nothing that the caller sent is repeated in them, and no 503 body holds an equals sign:
pyxero takes that for an OAuth 1 problem.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from math import ceil
from typing import NamedTuple

from proxy.core.model import UNKNOWN, Headers, Left, Limit

PROBLEM_JSON = b"application/problem+json"
TOO_MANY_REQUESTS = 429
_NEVER = re.compile(rb"q=0(\.0*)?")

_DENIED = "http_request_denied"
_BAD = "http_request_error"
_HELD = "destination_unavailable"
_OURS = "proxy_internal_error"


class Form(Enum):
    """What a body looks like."""

    PROBLEM = auto()
    """RFC 9457's members and Xero's."""
    XERO = auto()
    """As Xero says that a token is no good."""
    TEXT = auto()


class OwnAnswer(NamedTuple):
    """A class of the proxy's own answers: its status, `when` it is given, and what it `says` to people, where
    that is always the same; of a limit its name. `error` is the type of RFC 9209, for a failed attempt empty:
    that brings its own.
    """

    status: int
    when: str
    says: str = ""
    error: str = _DENIED
    form: Form = Form.PROBLEM
    headers: Headers = ()


OWN = {
    "refused_minute": OwnAnswer(
        429,
        "the organisation's calls of this minute are spent, the next free one comes too late",
        "limit of calls a minute for this organisation",
    ),
    "refused_day": OwnAnswer(
        429, "the organisation's calls of this day are spent", "limit of calls a day for this organisation"
    ),
    "refused_concurrent": OwnAnswer(
        429,
        "the organisation's slots stayed taken until the request's deadline",
        "limit of concurrent calls for this organisation",
    ),
    "refused_appminute": OwnAnswer(
        429,
        "the app's calls of this minute are spent, over all organisations",
        "limit of calls a minute for this app over all organisations",
    ),
    "unauthenticated": OwnAnswer(
        401,
        "a request to the API host without `Authorization` or with an empty one; Xero's words",
        "AuthenticationUnsuccessful",
        form=Form.XERO,
        headers=((b"WWW-Authenticate", b"Bearer"),),
    ),
    "refused_expired": OwnAnswer(
        401,
        "Xero called the same token expired less than 5 s ago; another token passes at once",
        "TokenExpired: token expired",
        form=Form.XERO,
        headers=((b"WWW-Authenticate", b"Bearer error=invalid_token"),),
    ),
    "refused_offline": OwnAnswer(
        503,
        "the organisation is offline for longer than the request may wait",
        "The Organisation is offline",
        _HELD,
        Form.TEXT,
    ),
    "refused_maintenance": OwnAnswer(
        503,
        "the API is held for maintenance for longer than the request may wait",
        "The Xero API is currently offline for maintenance",
        _HELD,
        Form.TEXT,
    ),
    "refused_unavailable": OwnAnswer(
        503,
        "the API is held as unavailable for longer than the request may wait",
        "The Xero API is temporarily unavailable",
        _HELD,
        Form.TEXT,
    ),
    "refused_failing": OwnAnswer(
        503,
        "the API, its use by this organisation, or the host is held because it kept failing",
        "Xero has been failing, and one request at a time finds out whether it still is.",
        _HELD,
    ),
    "refused_deadline": OwnAnswer(
        503,
        "its time was up, and nothing that is known stood in the way",
        "The request could not be sent before its deadline.",
    ),
    "queue_full": OwnAnswer(
        503,
        "`QUEUE_LIMIT` or `QUEUE_LIMIT_TOTAL` requests are waiting; a 429 that names the limit they wait "
        "for, Xero's own words where that is a hold",
        "Too many requests are waiting.",
    ),
    "draining": OwnAnswer(
        503,
        "the process is ending, and the request cannot be done in time",
        "The proxy is shutting down.",
    ),
    "spool_full": OwnAnswer(
        503,
        "neither memory nor disk has room for the request's body",
        "There is no room to keep the request body. The request was not sent.",
        _OURS,
    ),
    "body_too_large": OwnAnswer(
        413, "the body exceeds `MAX_BODY_BYTES`", "The request body is too large.", _BAD
    ),
    "body_timeout": OwnAnswer(
        408,
        "the head took longer than 20 s, or no byte of the body came for 30 s",
        "The request body did not arrive in time.",
        _BAD,
    ),
    "invalid_request": OwnAnswer(
        400,
        "no strict HTTP: malformed, badly framed or with two of a field that there is one of (400), a target "
        "over 16 KiB (414), another `Expect` (417), a head over its bounds (431), another version (505)",
        "The request target is not a path.",
        _BAD,
    ),
    "tenant_invalid": OwnAnswer(
        400,
        "`Xero-Tenant-Id` is not one name of at most 100 printable characters",
        "Xero-Tenant-Id is not one name of at most 100 printable characters.",
        _BAD,
    ),
    "method_not_allowed": OwnAnswer(
        405, "a method that Xero does not know; `Allow` lists the others", error=_BAD
    ),
    "misdirected": OwnAnswer(421, "`Host` or the target names another host", error=_BAD),
    "internal": OwnAnswer(500, "a bug; the log line `crashed` says where", "The proxy failed.", _OURS),
    "outcome_unknown": OwnAnswer(
        502,
        "nobody knows whether a write was executed: it is not sent again; 504 after a timeout",
        error="connection_terminated",
    ),
    "connect_failed": OwnAnswer(
        502, "no connection to Xero came about; also for who waited while one request tried", error=""
    ),
    "dns_failed": OwnAnswer(502, "Xero's name could not be resolved; as above", error=""),
    "tls_failed": OwnAnswer(
        502, "the TLS handshake failed: certificate, protocol, or no TLS at all; as above", error=""
    ),
    "upstream_reset": OwnAnswer(502, "the connection broke before the head of the answer", error=""),
    "upstream_truncated": OwnAnswer(502, "the answer broke off; nothing of it was passed on", error=""),
    "upstream_garbage": OwnAnswer(502, "the answer was no HTTP", error=""),
    "upstream_timeout": OwnAnswer(
        504,
        "no whole answer, or no first 64 KiB of one, came within `UPSTREAM_TIMEOUT_SECONDS`",
        error="",
    ),
    "caller_left": OwnAnswer(
        499, "nobody was left to be answered; in the log and the metrics alone", error=""
    ),
}
"""Every class of the proxy's own, in the order of the reference. One that refuses because of a limit or a
hold is `refused_` and its name.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the proxy's own; `name` is its class, `detail` what it says, `headers` what goes besides a
    `Retry-After` of so many seconds.
    """

    name: str
    status: int
    detail: str
    error: str
    form: Form = Form.PROBLEM
    headers: Headers = ()
    retry_after: int | None = None


def failed(
    name: str,
    detail: str = "",
    *,
    status: int | None = None,
    error: str = "",
    retry_after: int | None = None,
) -> Answer:
    """A plain error of the class `name`; `detail`, `status` and `error` are its own where none is given."""
    own = OWN[name]
    status, error = status or own.status, error or own.error or _DENIED
    return Answer(name, status, detail or own.says, error, own.form, own.headers, retry_after)


def refused(
    name: str,
    limit: str,
    seconds: float,
    when: str,
    left: Left = UNKNOWN,
    *,
    known: bool = True,
    unknown: bool = False,
) -> Answer:
    """A request that cannot run in time. `limit` is what stands in the way (empty: nothing that is known),
    `seconds` the time until it could run, `when` the same as a date for people; `name` is empty or says why
    else it was refused. Where the time is not `known`, none is told. `left` is what the limits leave, and
    `unknown` says whether an earlier attempt may have been executed.
    """
    wait = max(1, ceil(seconds)) if known else None
    cause = "" if name == "draining" or f"refused_{limit}" not in OWN else f"refused_{limit}"
    name = name or cause or "refused_deadline"
    own = OWN[cause or name]
    if own.form is Form.TEXT:
        return Answer(name, own.status, own.says, own.error, own.form, (), wait)
    after = _when(wait, when, unknown=unknown)
    if own.status != TOO_MANY_REQUESTS:
        own = OWN[name]
        return Answer(name, own.status, f"{own.says} {after}", own.error, retry_after=wait)
    reason = f"The {own.says} would be exceeded."
    if limit == Limit.DAY and left.day_limit is not None:
        reason += f" It is spent: 0 of {left.day_limit:,} are left."
    problem = ((b"X-Rate-Limit-Problem", limit.encode()), *_remaining(limit, left))
    return Answer(name, own.status, f"{reason} {after}", own.error, headers=problem, retry_after=wait)


def told_later(
    name: str, status: int, reason: str, seconds: float, when: str, *, unknown: bool = False
) -> Answer:
    """What stands in the place of the body of a 429 or 503 of Xero's, of the class `name`, whose
    `Retry-After` is too long to be passed on; `reason` is what it names, empty where that is nothing.
    """
    said, own = f"Xero answered {status}.", OWN.get(f"refused_{reason}")
    if own is not None and own.status == TOO_MANY_REQUESTS:
        said = f"The {own.says} is exceeded."
    elif own is not None and own.form is Form.TEXT:
        said = f"{own.says}."
    return Answer(name, status, f"{said} {_when(max(1, ceil(seconds)), when, unknown=unknown)}", "")


def _when(wait: int | None, when: str, *, unknown: bool) -> str:
    if wait is None:
        done = "The request may have been executed" if unknown else "Nothing was executed"
        return f"{done}. When the day ends, nobody knows until Xero says so; now and then one request asks."
    if unknown:
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


def written(
    answer: Answer, request_id: str, accept: bytes = b"", retry_after_max: float = 300.0
) -> tuple[Headers, bytes]:
    """Header fields and body for a request that sent such an `Accept`. A `Retry-After` above the maximum is
    left out: SDKs sleep on it for hours in a caller's thread.
    """
    media, body = b"text/plain; charset=utf-8", answer.detail.encode()
    if answer.form is not Form.TEXT:
        title, instance = HTTPStatus(answer.status).phrase, f"urn:xero-proxy:request:{request_id}"
        members: dict[str, object] = {
            "Type": None,
            "Title": title,
            "Status": answer.status,
            "Detail": answer.detail,
            "Instance": instance,
            "Extensions": {},
        }
        media = b"application/json; charset=utf-8"
        if answer.form is Form.PROBLEM:
            members = {
                "type": f"urn:xero-proxy:class:{answer.name}",
                "title": title,
                "status": answer.status,
                "detail": answer.detail,
                "instance": instance,
                "Type": answer.name,
                "ErrorNumber": 0,
                "Title": title,
                "Status": answer.status,
                "Detail": answer.detail,
                "Message": answer.detail,
                "Elements": [],
            }
            media = PROBLEM_JSON if _accepts_problems(accept) else b"application/json"
        body = json.dumps(members).replace("=", "\\u003d").encode()
    headers = ((b"Content-Type", media), *answer.headers)
    if answer.retry_after is not None and answer.retry_after <= retry_after_max:
        headers = (*headers, (b"Retry-After", b"%d" % answer.retry_after))
    return headers, body


def _accepts_problems(accept: bytes) -> bool:
    """Whether `Accept` names the type of RFC 9457, and not to refuse it."""
    for item in accept.lower().split(b","):
        media, *parameters = item.replace(b" ", b"").replace(b"\t", b"").split(b";")
        if media == PROBLEM_JSON:
            return not any(_NEVER.fullmatch(parameter) for parameter in parameters)
    return False
