from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Execution, Headers, Limit, Remaining, ResponseClass
from proxy.core.wire.fields import Fields
from proxy.core.wire.response_headers import (
    RETRY_AFTER_LIMIT,
    correlation_id,
    left_after,
    pause_seconds,
    remaining,
    retry_after_seconds,
)

WALL = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT

any_headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"Retry-After",
                b"x-minlimit-remaining",
                b"X-DayLimit-Remaining",
                b"XERO-Correlation-Id",
                b"other",
            ]
        ),
        st.binary(max_size=40)
        | st.integers().map(lambda n: str(n).encode())
        | st.from_regex(rb"\A.{0,30}GMT\Z"),
    ),
    max_size=6,
).map(tuple)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], None),
        ([b"22"], 22.0),
        ([b" 22 "], 22.0),
        ([b"0"], 0.0),
        ([b"604800"], RETRY_AFTER_LIMIT),
        ([b"604801"], None),
        ([b"1000000000"], None),
        ([b"9" * 5000], None),
        ([b""], None),
        ([b"-1"], None),
        ([b"+5"], None),
        ([b"3.5"], 3.5),
        ([b"0.5"], 0.5),
        ([b"3."], None),
        ([b".5"], None),
        ([b"3.5.1"], None),
        ([b"1e3"], None),
        ([b"3." + b"5" * 5000], 3.5555555555555554),
        ([b"22, 30"], None),
        ([b"\xb2"], None),
        ([b"soon"], None),
        ([b"22", b"30"], 30.0),
        ([b"30", b"22"], 30.0),
        ([b"30", b"1000000000", b""], 30.0),
        ([b"Sun, 06 Nov 1994 08:50:37 GMT"], 60.0),
        ([b"Sun, 06 Nov 1994 08:49:36 GMT"], 0.0),
        ([b"Sun, 06 Nov 2094 08:49:37 GMT"], None),
        ([b"Sunday, 06-Nov-94 08:50:37 GMT"], 60.0),
        ([b"Sun Nov  6 08:50:37 1994"], 60.0),
        ([b"Sun, 06 Nov 1994 08:50:37 -0000"], 60.0),
        ([b"Sun, 06 Nov 1994 10:50:37 +0200"], 60.0),
        ([b"Sun, 06 Nov 1994 08:50:37"], 60.0),
        ([b"Sun, 06 Nov 1994 08:50:37 GMT" + b" " * 64 + b"x"], None),
        ([b"Sun, 99 Nov 1994 08:49:37 GMT"], None),
        ([b"\xff GMT"], None),
        ([b"GMT"], None),
    ],
)
def test_retry_after_is_seconds_a_date_or_nothing(values: list[bytes], seconds: float | None) -> None:
    headers = ((b"Date", b"5"), *((b"Retry-after", value) for value in values))
    assert retry_after_seconds(Fields(headers), WALL) == seconds


@pytest.mark.parametrize(
    "form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
)
def test_a_date_counts_from_the_date_of_the_answer_whatever_our_clock_says(form: str) -> None:
    moment = datetime.fromtimestamp(WALL + 100.0, UTC)
    headers = ((b"Date", b"Sun, 06 Nov 1994 08:50:37 GMT"), (b"Retry-After", moment.strftime(form).encode()))
    assert retry_after_seconds(Fields(headers), WALL + 5000.0) == 40.0


@pytest.mark.parametrize("value", [b"", b"soon", b"-1", b"22, 30", b"9999999", b"\xff"])
def test_what_cannot_be_read_is_no_reason_to_hurry(value: bytes) -> None:
    fields = Fields(((b"Retry-After", value),))
    minute, day = (
        ResponseClass(limit, Execution.REJECTED, limit=limit) for limit in (Limit.MINUTE, Limit.DAY)
    )
    assert pause_seconds(fields, minute, WALL) == 60.0
    assert pause_seconds(fields, day, WALL) is None
    assert pause_seconds(Fields(), minute, WALL) is None
    assert pause_seconds(Fields(((b"Retry-After", b"2.5"),)), day, WALL) == 2.5


def test_a_refusal_for_the_day_says_that_none_is_left() -> None:
    minute, day = (
        ResponseClass(limit, Execution.REJECTED, limit=limit) for limit in (Limit.MINUTE, Limit.DAY)
    )
    assert left_after(Fields(), day) == Remaining(day=0)
    assert left_after(Fields(((b"X-DayLimit-Remaining", b"2"),)), day) == Remaining(day=2)
    assert left_after(Fields(), minute) == Remaining()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), Remaining()),
        (((b"X-MinLimit-Remaining", b"59"),), Remaining(minute=59)),
        (((b"x-daylimit-remaining", b"4999"), (b"X-APPMINLIMIT-REMAINING", b"0")), Remaining(None, 4999, 0)),
        (((b"X-MinLimit-Remaining", b"7"), (b"X-MinLimit-Remaining", b"5")), Remaining(minute=5)),
        (((b"X-MinLimit-Remaining", b"5"), (b"X-MinLimit-Remaining", b"7")), Remaining(minute=5)),
        (((b"X-MinLimit-Remaining", b"-1"), (b"X-DayLimit-Remaining", b"")), Remaining()),
        (((b"X-MinLimit-Remaining", b"1234567890"),), Remaining()),
    ],
)
def test_an_absent_or_broken_remaining_header_says_nothing(headers: Headers, expected: Remaining) -> None:
    assert remaining(Fields(headers)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0cd8b2ae-7d3f", "0cd8b2ae-7d3f"),
        (b"", ""),
        (b"a\nb", ""),
        (b"a\x1bb", ""),
        (b"\xff", ""),
        (b"x" * 100, "x" * 100),
        (b"x" * 101, ""),
    ],
)
def test_a_correlation_id_is_fit_for_a_log_line(value: bytes, expected: str) -> None:
    assert correlation_id(Fields(((b"Server", b"nginx"), (b"xero-correlation-id", value)))) == expected


@given(any_headers, st.floats(0, 1e10))
def test_no_header_is_too_strange(headers: Headers, wall: float) -> None:
    seconds = retry_after_seconds(Fields(headers), wall)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_LIMIT
    left = remaining(Fields(headers))
    assert all(number is None or 0 <= number < 10**9 for number in (left.minute, left.day, left.app_minute))
    assert correlation_id(Fields(headers)).isprintable()
