"""What the headers of Xero's responses say. Absent, malformed and absurd values all say nothing: None.

Numbers are ASCII digits only, as Xero sends them; anything else is somebody else's header.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from proxy.core.fields import Fields
from proxy.core.model import Remaining

RETRY_AFTER_LIMIT = 7 * 86400.0
"""Seconds. Xero's longest wait is a day; what asks for more than a week is a mistake."""

_DIGITS = 9
_CORRELATION_CHARACTERS = 100


def retry_after_seconds(fields: Fields, wall: float) -> float | None:
    """Seconds from now that `Retry-After` asks to wait, 0 or more; `wall` is seconds since 1970.

    RFC 9110 allows whole seconds or a date; a date that has passed is 0. None where the header is absent,
    empty, negative, neither of the two, or longer than a week: nobody then knows how long, and no time is
    invented. Of several usable values the longest counts, because sending too early costs a call.
    """
    if b"retry-after" not in fields:
        return None
    usable = [_seconds(value.strip(), wall) for value in fields.every(b"retry-after")]
    return max(
        (seconds for seconds in usable if seconds is not None and seconds <= RETRY_AFTER_LIMIT), default=None
    )


def remaining(fields: Fields) -> Remaining:
    """The calls left by `X-MinLimit-Remaining` and its siblings; of several values of one the smallest."""
    return Remaining(
        _smallest(fields, b"x-minlimit-remaining"),
        _smallest(fields, b"x-daylimit-remaining"),
        _smallest(fields, b"x-appminlimit-remaining"),
    )


def correlation_id(fields: Fields) -> str:
    """`Xero-Correlation-Id`, for Xero's support; empty where it is absent or not fit for a log line."""
    text = fields.get(b"xero-correlation-id", b"").strip().decode("latin-1")
    fit = text.isascii() and text.isprintable() and len(text) <= _CORRELATION_CHARACTERS
    return text if fit else ""


def _smallest(fields: Fields, name: bytes) -> int | None:
    if fields.repeats and name in fields:
        numbers = [_number(value.strip()) for value in fields.every(name)]
        return min((number for number in numbers if number is not None), default=None)
    value = fields.get(name)
    return None if value is None else _number(value)


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
