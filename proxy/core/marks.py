"""What the proxy adds to every response: where it came from, what it was, and what it cost.

`Proxy-Status` follows RFC 9209, `Server-Timing` the W3C's recommendation. A mark that came from upstream has
been removed before, so these are the proxy's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.model import Headers


@dataclass(frozen=True, slots=True)
class Course:
    """How a request fared. `received` is the upstream's status (None where there was none), `error` an
    RFC 9209 type where the proxy answered itself, `limit` what it waited for longest.
    """

    name: str
    sends: int
    queue_seconds: float
    upstream_seconds: float
    limit: str = ""
    received: int | None = None
    error: str = ""


def marks(course: Course) -> Headers:
    """The header fields that say how the request fared."""
    status = "xero-proxy"
    if course.received is not None:
        status += f"; received-status={course.received}"
    if course.error:
        status += f"; error={course.error}"
    queue = f"queue;dur={course.queue_seconds * 1000:.1f}"
    if course.limit:
        queue += f';desc="{course.limit}"'
    timing = f"{queue}, upstream;dur={course.upstream_seconds * 1000:.1f}"
    return (
        (b"Proxy-Status", status.encode()),
        (b"X-Xero-Proxy-Class", course.name.encode()),
        (b"X-Xero-Proxy-Attempts", b"%d" % course.sends),
        (b"Server-Timing", timing.encode()),
    )


def without(headers: Headers, name: bytes) -> Headers:
    """The same fields without `name` (lower case)."""
    return tuple(field for field in headers if field[0].lower() != name)
