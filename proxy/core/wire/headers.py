"""Which header fields go on to the other side (RFC 9110, section 7.6), and the two that are ours.

`Via` is added to requests where the setting asks for it: a gateway should, but servers stop compressing for
proxies. Responses never get it, which callers are promised unchanged. Upstream's `Proxy-Status` and
`X-Xero-Proxy-*` are removed, so that an answer which carries them is always the proxy's word.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from proxy.core.model import Headers
from proxy.core.wire.fields import Fields

VIA = (b"Via", b"1.1 xero-proxy")
DEFAULT_URGENCY = 3
NAMES_KEPT = 256
MOST_URGENT, LEAST_URGENT = 0, 7

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    },
)
_NOT_IN_REQUESTS = _HOP_BY_HOP | {b"expect", b"host", b"prefer", b"priority"}
_NOT_IN_RESPONSES = _HOP_BY_HOP | {b"proxy-status"}
_USUAL_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})

_METHOD_OVERRIDES = (b"x-http-method-override", b"x-http-method", b"x-method-override")

# Peers write what these read, so each text can be taken apart in one way only: blanks belong to what stands
# before them, and nothing that may be repeated or left out begins like what can follow it.
_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_STRING = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_KEY = r"[a-z*][a-z0-9_\-.*]*"
_NUMBER = r"-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}"
_WORD = r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"
_BARE = rf"(?:{_NUMBER}|{_STRING}|\?[01]|:[A-Za-z0-9+/=]*:|{_WORD})"
_PARAMETERS = rf"(?:; *{_KEY}(?:={_BARE})?)*"
_INNER = rf"\( *(?:{_BARE}{_PARAMETERS}(?: +|(?=\))))*\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_BARE}|{_INNER}))?{_PARAMETERS}".encode())
_COMMA = re.compile(rb"[ \t]*,[ \t]*")
_SAID = rf'({_NAME})[ \t]*(?:=[ \t]*({_NAME}|"(?:[^"\\]|\\.)*")[ \t]*)?'
_PREFERENCE = re.compile(rf"[ \t]*{_SAID}(?:;[ \t]*(?:{_SAID})?)*(?:,|\Z)".encode())


class _Passage(dict[bytes, bool]):
    """Whether a field goes on, by its name as it was written; remembers `NAMES_KEPT` of them."""

    def __init__(self, dropped: frozenset[bytes], dropped_prefix: bytes) -> None:
        super().__init__()
        self._dropped = dropped
        self._dropped_prefix = dropped_prefix

    def __missing__(self, name: bytes) -> bool:
        folded = name.lower()
        goes_on = folded not in self._dropped and not folded.startswith(self._dropped_prefix)
        if len(self) < NAMES_KEPT:
            self[name] = goes_on
        return goes_on


_TO_XERO = _Passage(_NOT_IN_REQUESTS, b"proxy-")
_TO_CALLER = _Passage(_NOT_IN_RESPONSES, b"x-xero-proxy-")


def end_to_end_request(fields: Fields, *, via: bool = False) -> Headers:
    """Return what of a caller's fields goes to Xero: order, repetition, case and bytes kept, `via` or not. An
    empty `Idempotency-Key` is none and does not go.
    """
    kept = [field for field in fields.raw if _TO_XERO[field[0]]]
    if fields.get(b"idempotency-key") == b"":  # it is none, and the proxy may add one
        kept = [field for field in kept if field[0].lower() != b"idempotency-key"]
    if via:
        kept.append(VIA)
    return _without_nominated(kept, fields)


def end_to_end_response(fields: Fields) -> Headers:
    """Return what of Xero's fields goes to the caller: order, repetition, case and bytes kept."""
    return _without_nominated([field for field in fields.raw if _TO_CALLER[field[0]]], fields)


def _without_nominated(kept: list[tuple[bytes, bytes]], fields: Fields) -> Headers:
    """`kept` but for what `Connection` lists besides the names that are never kept."""
    if b"connection" not in fields:
        return tuple(kept)
    options = fields.every(b"connection")
    if _USUAL_CONNECTION.issuperset(options):
        return tuple(kept)
    nominated = {option.strip(b" \t").lower() for option in b",".join(options).split(b",")}
    return tuple([field for field in kept if field[0].lower() not in nominated])


def wait_preference(fields: Fields) -> float | None:
    """Return the seconds of `Prefer: wait=N` (RFC 7240, section 4.3), or None; malformed counts as absent.

    The first `wait` wins, as the RFC says of repeated preferences.
    """
    for value in fields.every(b"prefer"):
        at = 0
        while at < len(value) and (match := _PREFERENCE.match(value, at)):
            if match[1].lower() == b"wait":
                seconds = (match[2] or b"").strip(b'"')
                return float(seconds) if seconds.isdigit() and len(seconds) < len("1000000000") else None
            at = match.end()
    return None


def overrides(fields: Fields) -> tuple[str, ...]:
    """Return the methods that the fields ask for in the place of the request's own, in upper case."""
    named = [value for name in _METHOD_OVERRIDES if name in fields for value in fields.every(name)]
    return tuple(value.strip().upper().decode("latin-1") for value in named)


def overrides_of(target: bytes) -> tuple[str, ...]:
    """Return the methods that parameters `_method` of a target ask for, in upper case."""
    query = target.partition(b"?")[2]
    if b"method" not in query.lower():
        return ()
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    return tuple(value.strip().upper() for name, value in pairs if name.lower() == "_method")


def urgency(fields: Fields) -> int:
    """Return `u` of `Priority` (RFC 9218, section 4.1), 0 the most urgent; malformed counts as absent."""
    if b"priority" not in fields:
        return DEFAULT_URGENCY
    field = b",".join(fields.every(b"priority")).strip(b" ")
    found, at = b"", 0
    while True:
        member = _MEMBER.match(field, at)
        if member is None:
            return DEFAULT_URGENCY
        if member[1] == b"u":
            found = member[2] or b""
        if member.end() == len(field):
            break
        comma = _COMMA.match(field, member.end())
        if comma is None:
            return DEFAULT_URGENCY
        at = comma.end()
    valid = len(found) == 1 and found.isdigit() and MOST_URGENT <= int(found) <= LEAST_URGENT
    return int(found) if valid else DEFAULT_URGENCY
