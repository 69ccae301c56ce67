"""What a caller's request must be before any of it is believed.

The head has been parsed by now (`proxy.core.heads`), and what is no HTTP was refused. What is HTTP and a
gateway must not let through is refused here: targets that could name another host, two readings of where the
body ends, repeated fields on which a decision rests, and `Connection` options that would remove such a field
on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from proxy.core.fields import Fields

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Exactly the methods whose retries are decided; no other has a meaning at Xero."""
MAX_TARGET = 16 * 1024
MAX_LENGTH_DIGITS = 15


class Refusal(StrEnum):
    """Why a request is answered without being looked at further."""

    MALFORMED = "malformed"
    METHOD = "method"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    TARGET_TOO_LONG = "target_too_long"
    EXPECTATION = "expectation"
    MISDIRECTED = "misdirected"
    HEAD_TOO_LARGE = "head_too_large"
    INTERNAL = "internal"
    VERSION = "version"

    @property
    def status(self) -> int:
        """The status that says so (RFC 9110 and 6585)."""
        return _STATUS[self]


_STATUS = {
    Refusal.MALFORMED: 400,
    Refusal.METHOD: 405,
    Refusal.TIMEOUT: 408,
    Refusal.TOO_LARGE: 413,
    Refusal.TARGET_TOO_LONG: 414,
    Refusal.EXPECTATION: 417,
    Refusal.MISDIRECTED: 421,
    Refusal.HEAD_TOO_LARGE: 431,
    Refusal.INTERNAL: 500,
    Refusal.VERSION: 505,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A refused request. `detail` is for people and quotes nothing that the caller sent."""

    kind: Refusal
    detail: str


@dataclass(slots=True)
class Accepted:
    """What the head of a good request says about its target (in origin-form) and body.

    `length` is None where none was declared.
    """

    target: bytes
    length: int | None
    chunked: bool
    expects_continue: bool


_NEEDED = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"idempotency-key",
        b"if-modified-since",
        b"prefer",
        b"priority",
        b"transfer-encoding",
        b"user-agent",
        b"via",
        b"xero-tenant-id",
    },
)
_ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-location",
        b"content-range",
        b"content-type",
        b"etag",
        b"host",
        b"idempotency-key",
        b"max-forwards",
        b"server",
        b"transfer-encoding",
        b"user-agent",
        b"xero-tenant-id",
    },
)
_TARGET_BYTES = bytes(range(0x21, 0x23)) + bytes(range(0x24, 0x7F))
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%]+)(?::[0-9]{0,5})?")
_PRIVATE = re.compile(rb"\[.*|[0-9.]+|[^.]*|.*\.(localhost|local|internal|svc|home\.arpa)")
"""Addresses, and names that no stranger can own: without a dot, or reserved (RFC 6761, 6762, 8375; ICANN's
`internal`; the names of Services in Kubernetes).
"""
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)


@dataclass(slots=True)
class RequestHead:
    """A request line and its fields, as received. `upgrade` says that the caller wants another protocol."""

    method: str
    target: bytes
    fields: Fields
    http10: bool
    keep_alive: bool
    upgrade: bool


@dataclass(frozen=True, slots=True)
class Own:
    """Under what the proxy is reached, in lower case: `authorities` are `host:port` that an absolute-form
    target may name, `hosts` the public names that `Host` may name.

    An address or a private name is good in `Host` in any case: a container does not know what its network
    calls it. Any other public name is refused, because a page in a browser can make its own name resolve to
    the proxy's address, and speaks to it as to its own server then.
    """

    authorities: frozenset[bytes] = frozenset()
    hosts: frozenset[bytes] = frozenset()


def check_request(head: RequestHead, own: Own) -> Problem | Accepted:
    """Return what the request says about its body, or why it is refused."""
    if head.method not in METHODS:
        return Problem(Refusal.METHOD, "This method is not forwarded.")
    origin = _origin_form(head.target, own.authorities)
    if isinstance(origin, Problem):
        return origin
    fields = head.fields
    problem = _repetition_problem(fields) or _host_problem(fields.get(b"host"), own.hosts)
    if problem is None and b"connection" in fields:
        problem = _connection_problem(fields.every(b"connection"))
    return problem or _body(origin, fields, http10=head.http10)


def _malformed(detail: str) -> Problem:
    return Problem(Refusal.MALFORMED, detail)


def _origin_form(target: bytes, own_authorities: frozenset[bytes]) -> Problem | bytes:
    if len(target) > MAX_TARGET:
        return Problem(Refusal.TARGET_TOO_LONG, f"The target is longer than {MAX_TARGET} bytes.")
    if target.translate(None, _TARGET_BYTES):
        return _malformed("The target holds a fragment, a blank, or bytes that must be percent-encoded.")
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            return _malformed("The target must be a path that begins with one slash.")
        if absolute[1].lower() not in own_authorities:
            return Problem(Refusal.MISDIRECTED, "The target names another host.")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if target.startswith(b"//"):
        return _malformed("The target must be a path that begins with one slash.")
    return target


@lru_cache(maxsize=256)
def _host_problem(host: bytes | None, own_hosts: frozenset[bytes]) -> Problem | None:
    if host is None:
        return _malformed("Host is missing.")
    authority = _AUTHORITY.fullmatch(host)
    if authority is None:
        return _malformed("Host is not a host name or address.")
    name = authority[1].lower().removesuffix(b".")
    if name in own_hosts or _PRIVATE.fullmatch(name):
        return None
    return Problem(
        Refusal.MISDIRECTED,
        "Host names another host. The proxy answers to addresses, to names without a dot, and to those that "
        "end in .localhost, .local, .internal, .svc or .home.arpa.",
    )


def _repetition_problem(fields: Fields) -> Problem | None:
    if not fields.repeats:
        return None
    repeated = sorted(name for name in _ONCE if len(fields.every(name)) > 1)
    return _malformed(f"{repeated[0].decode()} is given more than once.") if repeated else None


def _connection_problem(values: list[bytes]) -> Problem | None:
    options = {option.strip(b" \t").lower() for option in b",".join(values).split(b",")}
    if options.isdisjoint(_NEEDED):
        return None
    return _malformed("Connection lists a field that Xero or the proxy needs.")


def _body(target: bytes, fields: Fields, *, http10: bool) -> Problem | Accepted:
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    expect = b",".join(fields.every(b"expect")) if b"expect" in fields else None
    if coding is not None:
        if http10 or length is not None:
            return _malformed("Transfer-Encoding stands beside Content-Length or in HTTP/1.0.")
        if coding.lower() != b"chunked":
            return _malformed("Transfer-Encoding is not exactly chunked.")
    if length is not None and not (length.isdigit() and len(length) <= MAX_LENGTH_DIGITS):
        return _malformed("Content-Length is not a number of bytes.")
    if expect is not None and expect.lower() != b"100-continue":
        return Problem(Refusal.EXPECTATION, "Only 100-continue can be expected.")
    return Accepted(
        target,
        None if length is None else int(length),
        coding is not None,
        expect is not None and not http10,
    )
