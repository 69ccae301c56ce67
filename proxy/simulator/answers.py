"""Requests, answers, and each answer whose exact form is known from Xero's documents or traffic.

Only what the resources say is missing here. The server adds Content-Length, Date and Server; the
remaining-call headers and Xero-Correlation-Id are added by `xero`, because they vary by gate.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import parse_qs

from proxy.core.model import Headers, Limit

JSON = b"application/json; charset=utf-8"
XML = b"text/xml; charset=utf-8"
HTML = b"text/html; charset=utf-8"
PLAIN = b"text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class SimRequest:
    """A request as it came: `target` is the raw path and query."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""

    @property
    def path(self) -> str:
        """The raw path without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """Decoded query parameters; of a repeated one the last."""
        return {name: values[-1] for name, values in parse_qs(self.target.partition("?")[2]).items()}

    def header(self, name: bytes) -> str:
        """The first field called `name` (given in lower case), or an empty string."""
        return next((v.decode("latin-1").strip() for n, v in self.headers if n.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response without the headers that the connection adds."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def adding(self, headers: Headers) -> Answer:
        """The same answer with more header fields after its own."""
        return replace(self, headers=self.headers + headers)


def as_json(status: int, value: object) -> Answer:
    """`value` as JSON."""
    return Answer(status, ((b"Content-Type", JSON),), json.dumps(value, separators=(",", ":")).encode())


def text(status: int, words: str, content_type: bytes = PLAIN) -> Answer:
    """Words in plain text, or in another type."""
    return Answer(status, ((b"Content-Type", content_type),), words.encode())


def too_many(limit: Limit, retry_after: int | None) -> Answer:
    """The 429 of one limit: an empty body without a type; a concurrent one has no Retry-After."""
    wait: Headers = () if retry_after is None else ((b"Retry-After", str(retry_after).encode()),)
    return Answer(429, (*wait, (b"X-Rate-Limit-Problem", limit.encode())))


def _problem(status: int, title: str, detail: str, instance: str) -> dict[str, object]:
    return {
        "Type": None,
        "Title": title,
        "Status": status,
        "Detail": detail,
        "Instance": instance,
        "Extensions": {},
    }


def token_expired(at: float, instance: str) -> Answer:
    """The 401 of an access token that expired at `at` (seconds since 1970)."""
    when = datetime.fromtimestamp(at, UTC).strftime("%m/%d/%Y %H:%M:%S")
    body = _problem(401, "Unauthorized", f"TokenExpired: token expired at {when}", instance)
    return as_json(401, body).adding(((b"WWW-Authenticate", b"Bearer error=invalid_token"),))


def unauthenticated(instance: str) -> Answer:
    """The 401 without a usable token."""
    return as_json(401, _problem(401, "Unauthorized", "AuthenticationUnsuccessful", instance))


def insufficient_scope(instance: str) -> Answer:
    """The 401 of a token whose scopes do not cover the call, with Xero's spelling."""
    body = _problem(401, "Unauthorized", "AuthorizationUnsuccessful", instance)
    return as_json(401, body).adding(((b"WWW-Authenticate", b"insufficent_scope"),))


def wrong_tenant(instance: str) -> Answer:
    """The 403 of an organisation that the token is not connected to, and of a call that names none."""
    return as_json(403, _problem(403, "Forbidden", "AuthenticationUnsuccessful", instance))


def internal_error(instance: str) -> Answer:
    """The 500 that Xero writes itself."""
    detail = "An error occurred in Xero. Check the API Status page http://status.developer.xero.com"
    return as_json(500, _problem(500, "An error occurred", detail, instance))


def key_reused(key: str) -> Answer:
    """The 400 of an Idempotency-Key that came with another method, URL or body before."""
    return text(400, f"Idempotency Key: {key} is used with a different request.")


KEY_TOO_LONG = text(400, "Idempotency Key: the key must not be longer than 128 characters.")
"""The status is documented, the words are not."""
NO_CONTENT = Answer(204)
NOT_FOUND = text(404, "The resource you're looking for cannot be found", HTML)
PRECONDITION = text(412, "Precondition Failed")
"""The status is documented, the words are not."""
ORGANISATION_OFFLINE = text(503, "The Organisation is offline")
MAINTENANCE = text(503, "The Xero API is currently offline for maintenance")
UNAVAILABLE = text(503, "The Xero API is temporarily unavailable")
TEAPOT = text(418, "I'm a teapot", HTML)
FORM = b"application/x-www-form-urlencoded"
OAUTH1_LIMIT = text(
    503,
    "oauth_problem=rate%20limit%20exceeded"
    "&oauth_problem_advice=please%20wait%20before%20retrying%20the%20xero%20api",
    FORM,
)
OAUTH1 = text(
    401,
    "oauth_problem=token_rejected&oauth_problem_advice=Token%20does%20not%20match%20an%20expected%20ACCESS%20token",
    FORM,
)
INVALID_PROJECT = as_json(
    400,
    {
        "message": "The request is invalid.",
        "modelState": {"model.Name": ["The Project Name cannot be empty"]},
    },
)
INVALID_FILE = as_json(
    400, [{"type": "Validation", "title": "Validation failed", "detail": "A name is needed"}]
)
INVALID_ASSET = as_json(
    400, {"fieldValidationErrors": [{"field": "assetName", "message": "A name is needed"}]}
)
INVALID_PAYROLL = as_json(
    400,
    {"problem": {"status": 400, "invalidFields": [{"name": "firstName", "reason": "A name is needed"}]}},
)
"""Of the last three the members are documented, the words are not."""
FINANCE_UNAVAILABLE = as_json(503, {"type": "service-unavailable", "title": "Service unavailable"})
HIGH_VOLUME = as_json(
    400,
    {
        "ErrorNumber": 51,
        "Type": "HighVolumeException",
        "Message": "The request asks for more records than can be answered; narrow it down.",
    },
)
"""Number and type are documented, the words are not."""


def _nginx(status: int, words: str) -> Answer:
    line = f"{status} {words}"
    page = (
        f"<html>\r\n<head><title>{line}</title></head>\r\n<body>\r\n"
        f"<center><h1>{line}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return text(status, page, HTML)


CLIENT_CERTIFICATE = _nginx(403, "Forbidden")
NGINX_ERROR = _nginx(500, "Internal Server Error")
BAD_GATEWAY = _nginx(502, "Bad Gateway")
EDGE_UNAVAILABLE = text(
    503,
    "<HTML><HEAD><TITLE>Service Unavailable</TITLE></HEAD><BODY>\n"
    "<H1>Service Unavailable - Zero size object</H1>\n</BODY></HTML>\n",
    HTML,
)
GATEWAY_TIMEOUT = Answer(504)
"""The gateway's empty one."""
