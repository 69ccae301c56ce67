"""What a refusal by a limit says besides: what is left, and when, as far as anybody knows."""

from __future__ import annotations

import pytest

from proxy.core.answers.answers import refused, told_later
from proxy.core.model import Left
from tests.core.answers.test_answers import WHEN, header, members

LEFT = Left(minute=7, day=90, app_minute=900, day_limit=1000)


@pytest.mark.parametrize(
    ("limit", "fields"),
    [
        ("minute", (b"0", b"90", b"900")),
        ("day", (b"7", b"0", b"900")),
        ("appminute", (b"7", b"90", b"0")),
        ("concurrent", (b"7", b"90", b"900")),
    ],
)
def test_the_field_of_the_limit_that_refuses_is_0_and_no_other(limit: str, fields: tuple[bytes, ...]) -> None:
    names = b"x-minlimit-remaining", b"x-daylimit-remaining", b"x-appminlimit-remaining"
    answer = refused("", limit, 3.0, WHEN, LEFT)
    assert tuple(header(answer, name) for name in names) == fields
    bare = refused("", limit, 3.0, WHEN, Left(0, 0, 0))
    zeros = [header(bare, name) for name in names if header(bare, name) is not None]
    assert zeros == ([] if limit == "concurrent" else [b"0"])


@pytest.mark.parametrize("unknown", [False, True])
def test_where_nobody_knows_when_a_day_ends_no_time_is_told(unknown: bool) -> None:
    answer = refused("", "day", 900.0, WHEN, LEFT, known=False, unknown=unknown)
    assert header(answer, b"retry-after") is None
    detail = members(answer)["detail"]
    assert "0 of 1,000 are left" in detail
    assert "nobody knows until Xero says so" in detail
    assert WHEN not in detail
    assert "900" not in detail
    assert ("may have been executed" in detail) == unknown


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("day", "limit of calls a day"),
        ("offline", "The Organisation is offline."),
        ("", "Xero answered 503."),
    ],
)
def test_what_stands_for_a_time_that_is_too_long_says_whose_word_it_is_and_when(
    reason: str, said: str
) -> None:
    answer = told_later("class", 503, reason, 3600.2, WHEN)
    assert said in members(answer)["detail"]
    assert f"in 3601 s, at {WHEN}" in members(answer)["detail"]
    assert header(answer, b"retry-after") is None
