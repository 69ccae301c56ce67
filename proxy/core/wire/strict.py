"""What a caller's request must be before any of it is believed.

The head has been parsed by now (`proxy.core.wire.heads`), and what is no HTTP was refused. What is HTTP and a
gateway must not let through is refused here: targets that could name another host, two readings of where the
body ends, repeated fields on which a decision rests, and `Connection` options that would remove such a field
on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from proxy.core.wire.fields import Fields

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
        b"host",
        b"idempotency-key",
        b"transfer-encoding",
        b"xero-tenant-id",
    },
)
"""A decision rests on these, here or at Xero's edge."""
_ALIKE = frozenset(
    {
        b"content-location",
        b"content-range",
        b"content-type",
        b"etag",
        b"max-forwards",
        b"server",
        b"user-agent",
    },
)
"""There is one of these (RFC 9110), but two that say the same harm nobody: some clients add what is there."""
_TARGET_BYTES = bytes(range(0x21, 0x23)) + bytes(range(0x24, 0x7F))
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%]+)(?::[0-9]{0,5})?")
_RESERVED = frozenset({b"localhost", b"local", b"internal", b"svc", b"test", b"default"})
"""What no public name ends in (RFC 6761 and 6762; ICANN's `internal`; Kubernetes' Services, and its
namespace `default`).
"""
_LABEL = b"abcdefghijklmnopqrstuvwxyz0123456789-"
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
    """Public names under which the proxy is reached, in lower case: `hosts` one by one, `domains` with
    whatever ends in them.

    An address or a private name is good in any case: a container does not know what its network calls it. Any
    other public name is refused, because a page in a browser can make its own name resolve to the proxy's
    address, and speaks to it as to its own server then.
    """

    hosts: frozenset[bytes] = frozenset()
    domains: frozenset[bytes] = frozenset()


def check_request(head: RequestHead, own: Own) -> Problem | Accepted:
    """Return what the request says about its body, or why it is refused."""
    if head.method not in METHODS:
        return Problem(Refusal.METHOD, "This method is not forwarded.")
    origin = _origin_form(head.target, own)
    if isinstance(origin, Problem):
        return origin
    fields = head.fields
    problem = _repetition_problem(fields)
    if problem is None and (b"host" in fields or not head.http10):
        problem = _host_problem(fields.get(b"host"), own)
    if problem is None and b"connection" in fields:
        problem = _connection_problem(fields.every(b"connection"))
    return problem or _body(origin, fields, http10=head.http10)


def _malformed(detail: str) -> Problem:
    return Problem(Refusal.MALFORMED, detail)


def _origin_form(target: bytes, own: Own) -> Problem | bytes:
    if len(target) > MAX_TARGET:
        return Problem(Refusal.TARGET_TOO_LONG, f"The target is longer than {MAX_TARGET} bytes.")
    if target.translate(None, _TARGET_BYTES):
        return _malformed("The target holds a fragment, a blank, or bytes that must be percent-encoded.")
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            return _malformed("The target must be a path that begins with one slash.")
        if _host_problem(absolute[1], own) is not None:
            return Problem(Refusal.MISDIRECTED, "The target names another host.")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if target.startswith(b"//"):
        return _malformed("The target must be a path that begins with one slash.")
    return target


@lru_cache(maxsize=256)
def _host_problem(host: bytes | None, own: Own) -> Problem | None:
    if host is None:
        return _malformed("Host is missing.")
    authority = _AUTHORITY.fullmatch(host)
    if authority is None:
        return _malformed("Host is not a host name or address.")
    name = authority[1].lower().removesuffix(b".")
    if _is_private(name) or name in own.hosts or _ends_in(name, own.domains):
        return None
    return Problem(
        Refusal.MISDIRECTED,
        "Host names another host. The proxy answers to addresses, to names without a dot, to those that end "
        "in .localhost, .local, .internal, .svc, .test or .home.arpa, and to those in ALLOWED_HOSTS.",
    )


def _ends_in(name: bytes, domains: frozenset[bytes]) -> bool:
    return any(name == domain or name.endswith(b"." + domain) for domain in domains)


def _is_private(name: bytes) -> bool:
    """Whether no stranger can own this name: an address, a name without a dot, or one whose end is reserved
    or cannot be public. Public ones end in letters alone or begin with `xn--`; a namespace of Kubernetes
    need not.
    """
    start, dot, last = name.rpartition(b".")
    if not dot or last in _RESERVED or name.startswith(b"["):
        return True
    if last == b"arpa":
        return start == b"home" or start.endswith(b".home")
    return bool(last) and not (last.isalpha() or last.startswith(b"xn--") or last.translate(None, _LABEL))


def _repetition_problem(fields: Fields) -> Problem | None:
    if not fields.repeats:
        return None
    for name in sorted(_ONCE | _ALIKE):
        values = fields.every(name)
        if len(values if name in _ONCE else set(values)) > 1:
            return _malformed(f"{name.decode()} is given more than once.")
    return None


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
