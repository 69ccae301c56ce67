"""What the headers of Xero's responses say. Absent, malformed and absurd values all say nothing: None.

Numbers are ASCII digits only, as Xero sends them; anything else is somebody else's header.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from proxy.core.model import Limit, Remaining, ResponseClass
from proxy.core.wire.fields import Fields

RETRY_AFTER_LIMIT = 7 * 86400.0
"""Seconds. Xero's longest wait is a day; what asks for more than a week is a mistake."""
UNREADABLE_SECONDS = 60.0
"""What a `Retry-After` that cannot be read is taken for: after a minute all but a spent day is over."""

_DIGITS = 9
_DATE_CHARACTERS = 64
_CORRELATION_CHARACTERS = 100


def retry_after_seconds(fields: Fields, wall: float) -> float | None:
    """Seconds from the answer on that `Retry-After` asks to wait, 0 or more; `wall` is when it was read, in
    seconds since 1970.

    Seconds may have a fraction, which RFC 9110 does not know. A date in any of its three forms counts from
    the answer's own `Date`, whatever the two clocks say, and from `wall` where there is none; one that has
    passed is 0. None where the field is absent or cannot be read: empty, negative, neither of the two, or
    longer than a week. Of several usable values the longest counts, because sending too early costs a call.
    """
    if b"retry-after" not in fields:
        return None
    dated = _date(fields.get(b"date", b"").strip())
    since = wall if dated is None else dated
    usable = [_seconds(value.strip(), since) for value in fields.every(b"retry-after")]
    return max(
        (seconds for seconds in usable if seconds is not None and seconds <= RETRY_AFTER_LIMIT), default=None
    )


def pause_seconds(fields: Fields, row: ResponseClass, wall: float) -> float | None:
    """Seconds to keep to after an answer of this class, None where it does not speak of any. A `Retry-After`
    that cannot be read is no reason to hurry; but how long a day still lasts, nobody can guess.
    """
    seconds = retry_after_seconds(fields, wall)
    if seconds is None and b"retry-after" in fields and row.limit is not Limit.DAY:
        return UNREADABLE_SECONDS
    return seconds


def left_after(fields: Fields, row: ResponseClass) -> Remaining:
    """As `remaining`; a refusal for the day says that none of it is left, with or without the field."""
    told = remaining(fields)
    return told._replace(day=0) if row.limit is Limit.DAY and told.day is None else told


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


def _seconds(value: bytes, since: float) -> float | None:
    whole, point, fraction = value.partition(b".")
    if whole.isdigit() and len(whole) <= _DIGITS and (fraction.isdigit() or not point):
        return float(value[:_DATE_CHARACTERS])
    date = _date(value)
    return None if date is None else max(0.0, date - since)


def _date(value: bytes) -> float | None:
    """Seconds since 1970 of a date in one of RFC 9110's three forms, or with a numeric zone; without one it
    is UTC.
    """
    if len(value) > _DATE_CHARACTERS or b":" not in value:
        return None
    try:
        moment = parsedate_to_datetime(value.decode("ascii"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (
        ValueError,
        TypeError,
        IndexError,
        OverflowError,
    ):  # what the standard library raises for broken dates
        return None
