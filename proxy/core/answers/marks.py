"""What the proxy adds to every response: where it came from, what it was, and what it cost.

`Proxy-Status` follows RFC 9209, `Server-Timing` the W3C's recommendation. A mark that came from upstream has
been removed before, so these are the proxy's own.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

from proxy.core.model import Headers


def marks(
    name: str,
    sends: int,
    queue_seconds: float,
    upstream_seconds: float,
    limit: str = "",
    received: int | None = None,
    error: str = "",
) -> Headers:
    """The header fields that say how a request of the class `name` fared. `received` is the upstream's status
    (None where there was none), `error` an RFC 9209 type where the proxy answered itself, `limit` what it
    waited for longest.
    """
    longest = b';desc="%b"' % limit.encode() if limit else b""
    durations = queue_seconds * 1000, longest, upstream_seconds * 1000
    timing = b"queue;dur=%.1f%b, upstream;dur=%.1f" % durations
    return (*_result(name, sends, received, error), (b"Server-Timing", timing))


@lru_cache(maxsize=256)
def _result(name: str, sends: int, received: int | None, error: str) -> Headers:
    status = "xero-proxy"
    if received is not None:
        status += f"; received-status={received}"
    if error:
        status += f"; error={error}"
    return (
        (b"Proxy-Status", status.encode()),
        (b"X-Xero-Proxy-Class", name.encode()),
        (b"X-Xero-Proxy-Attempts", b"%d" % sends),
    )


def date(wall: float) -> tuple[bytes, bytes]:
    """The `Date` of an answer that is made at `wall`, seconds since 1970 (RFC 9110, section 6.6.1)."""
    return b"Date", _date(int(wall))


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def without(headers: Headers, name: bytes) -> Headers:
    """The same fields without `name` (lower case)."""
    return tuple(field for field in headers if field[0].lower() != name)
