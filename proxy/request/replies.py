"""What the caller gets: Xero's response passed on, or an answer of the proxy's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil

from proxy.core.answers.answers import TOO_MANY_REQUESTS, Answer, failed, refused, told_later, written
from proxy.core.answers.marks import without
from proxy.core.answers.tried import Tried
from proxy.core.limits.holds import FAILING
from proxy.core.line.refusal import Refusal, Why
from proxy.core.model import UNKNOWN, Failure, Headers, Left, ResponseClass
from proxy.core.wire.headers import end_to_end_response
from proxy.core.wire.response_headers import retry_after_seconds
from proxy.http.body import BodyProblem
from proxy.http.response import Response
from proxy.http.upstream import KEY_OUTLIVED
from proxy.request.attempt import Gone

SERVICE_UNAVAILABLE = 503
GATEWAY_TIMEOUT = 504
SAYS_UNKNOWN = frozenset({*range(500, 600)} - {503})
"""Statuses after which no client repeats a write by itself."""
FRESH_SECONDS = 1.0
"""An answer that is passed on later than so long after it was read has its `Retry-After` counted anew."""


@dataclass(slots=True)
class Passed:
    """Xero's response, with the fields that may go on to the caller."""

    response: Response
    headers: Headers
    name: str
    status: int
    error: str = ""


def refuse(
    tried: Tried,
    refusal: Refusal,
    now: float,
    wall: float,
    left: Left = UNKNOWN,
    trouble: Failure | None = None,
) -> Answer:
    """The answer to a request that got no permit in time. `wall` is seconds since 1970, `left` what its
    limits leave, `trouble` why its host cannot be reached: who waits for that to end is told as if by an
    attempt of its own.
    """
    if tried.unknown:
        return _unknown("No further attempt was possible in time.")
    if refusal.at >= tried.key_until:
        return refuse_outlived()
    if trouble and refusal.limit == FAILING and refusal.why in {Why.HOPELESS, Why.DEADLINE}:
        return give_up(tried, trouble)
    seconds = max(0.0, refusal.at - now)
    name = refusal.why.value if refusal.why in {Why.QUEUE_FULL, Why.DRAINING} else ""
    known, unknown = refusal.known, tried.doubtful
    return refused(name, refusal.limit, seconds, _date(wall + seconds), left, known=known, unknown=unknown)


def refuse_outlived() -> Answer:
    """The answer to a request that is not sent, as its `Idempotency-Key` may be forgotten by then."""
    return _unknown("Xero may have executed an earlier request with this Idempotency-Key and forgotten it.")


def refuse_expired(tried: Tried) -> Answer:
    """The answer to a request whose token Xero has just called expired."""
    return _unknown("The token has expired since.") if tried.unknown else failed("refused_expired")


def unkept(problem: BodyProblem) -> Answer | Gone:
    """The answer to a request whose body was not kept."""
    match problem:
        case BodyProblem.GONE:
            return Gone.BODY
        case BodyProblem.TOO_LARGE:
            return failed("body_too_large")
        case BodyProblem.STALLED:
            return failed("body_timeout")
        case BodyProblem.LATE:
            detail = "The request body did not arrive before the request's deadline. It was not sent."
            return failed("refused_deadline", detail)
        case BodyProblem.STORAGE:
            return failed("spool_full", retry_after=1)
        case BodyProblem.MALFORMED:
            return failed("invalid_request", "The request body is badly framed.")


def give_up(tried: Tried, failure: Failure) -> Answer:
    """The answer to a request whose last attempt brought no usable response."""
    if failure is KEY_OUTLIVED and not tried.unknown:
        return refuse_outlived()
    if not tried.unknown:
        return failed(failure.name, failure.detail, error=failure.error)
    status = GATEWAY_TIMEOUT if failure.name == "upstream_timeout" else None
    return _unknown(failure.detail, status=status, error=failure.error)


def pass_on(
    tried: Tried, response: Response, row: ResponseClass, now: float, wall: float, retry_after_max: float
) -> Passed | Answer:
    """Xero's response as it came, but for a `Retry-After` that would hurt. `now` is the clock's time,
    `wall` the same in seconds since 1970.

    Clients join two of them to what is no number, so the longest stands alone, in whole seconds. One longer
    than the setting allows makes SDKs sleep for hours, so the body of a 429 or 503 says when instead; one
    that cannot be read breaks them, and after a write whose outcome is unknown it makes xero-python send the
    write again.
    """
    passed = Passed(response, end_to_end_response(response.fields), row.name, response.status)
    if tried.unknown and not tried.proved(row):
        response.close()
        status = GATEWAY_TIMEOUT if response.status == GATEWAY_TIMEOUT else None
        return _unknown(
            "The reply to an earlier attempt was lost, and a later one says nothing of it.", status=status
        )
    if tried.unknown and not row.proves and response.status not in SAYS_UNKNOWN:
        response.close()
        return _unknown(f"Xero answered {response.status}, which many clients take for leave to repeat.")
    if b"retry-after" not in response.fields:
        return passed
    others = without(passed.headers, b"retry-after")
    age = max(0.0, now - response.head_at)
    told = retry_after_seconds(response.fields, wall - age)
    if told is None or tried.unknown:
        return replace(passed, headers=others)
    wait = max(0.0, told - age) if age >= FRESH_SECONDS else told
    if wait > retry_after_max:
        return _told_later(tried, passed, others, row, wait, wall)
    values = response.fields.every(b"retry-after")
    if len(values) == 1 and b"." not in values[0] and wait == told:
        return passed
    return replace(passed, headers=(*others, (b"Retry-After", b"%d" % ceil(wait))))


def _told_later(
    tried: Tried, passed: Passed, others: Headers, row: ResponseClass, wait: float, wall: float
) -> Passed:
    """Xero's answer without its `Retry-After`; a 429 or 503 has a body that says when."""
    old = passed.response
    if old.status not in {TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE}:
        return replace(passed, headers=others)
    reason = row.limit or (row.hold.reason if row.hold else "")
    when = _date(wall + wait)
    said = told_later(row.name, old.status, reason, wait, when, unknown=tried.doubtful)
    headers, body = written(said, tried.request.id, tried.request.accept)
    old.close()
    new = Response(old.status, old.reason, old.fields, first=body, length=len(body), head_at=old.head_at)
    kept = tuple(field for field in others if not field[0].lower().startswith(b"content-"))
    return replace(passed, response=new, headers=(*kept, *headers))


def _unknown(why: str, *, status: int | None = None, error: str = "") -> Answer:
    detail = f"{why} It is not known whether Xero executed the request: look before you send it again."
    return failed("outcome_unknown", detail, status=status, error=error)


def _date(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
