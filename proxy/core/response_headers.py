"""What the headers of Xero's responses say. Absent, malformed and absurd values all say nothing: None.

Numbers are ASCII digits only, as Xero sends them; anything else is somebody else's header.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from proxy.core.model import Headers, Remaining

RETRY_AFTER_LIMIT = 7 * 86400.0
"""Seconds. Xero's longest wait is a day; what asks for more than a week is a mistake."""

_DIGITS = 9
_CORRELATION_CHARACTERS = 100
_REMAINING = {b"x-minlimit-remaining": 0, b"x-daylimit-remaining": 1, b"x-appminlimit-remaining": 2}


def retry_after_seconds(headers: Headers, wall: float) -> float | None:
    """Seconds from now that `Retry-After` asks to wait, 0 or more; `wall` is seconds since 1970.

    RFC 9110 allows whole seconds or a date; a date that has passed is 0. None where the header is absent,
    empty, negative, neither of the two, or longer than a week: nobody then knows how long, and no time is
    invented. Of several usable values the longest counts, because sending too early costs a call.
    """
    found = None
    for name, value in headers:
        if name.lower() == b"retry-after":
            seconds = _seconds(value.strip(), wall)
            if seconds is not None and seconds <= RETRY_AFTER_LIMIT:
                found = seconds if found is None else max(found, seconds)
    return found


def remaining(headers: Headers) -> Remaining:
    """The calls left by `X-MinLimit-Remaining` and its siblings; of several values of one the smallest."""
    found: list[int | None] = [None, None, None]
    for name, value in headers:
        place = _REMAINING.get(name.lower())
        if place is not None:
            number = _number(value.strip())
            known = found[place]
            if number is not None and (known is None or number < known):
                found[place] = number
    return Remaining(*found)


def correlation_id(headers: Headers) -> str:
    """`Xero-Correlation-Id`, for Xero's support; empty where it is absent or not fit for a log line."""
    for name, value in headers:
        if name.lower() == b"xero-correlation-id":
            text = value.strip().decode("latin-1")
            if text.isascii() and text.isprintable() and len(text) <= _CORRELATION_CHARACTERS:
                return text
    return ""


def _number(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) <= _DIGITS else None


def _seconds(value: bytes, wall: float) -> float | None:
    if not value.endswith(b"GMT"):
        number = _number(value)
        return None if number is None else float(number)
    try:
        return max(0.0, parsedate_to_datetime(value.decode("ascii")).timestamp() - wall)
    except (
        ValueError,
        TypeError,
        IndexError,
        OverflowError,
    ):  # what the standard library raises for broken dates
        return None
