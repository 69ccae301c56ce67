from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answers.answers import OWN
from proxy.core.answers.marks import date, marks, without
from proxy.core.model import Headers, Limit

KEY = r"[a-z*][a-z0-9_.*-]*"
TOKEN = r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
BARE_ITEM = rf'(?:{TOKEN}|-?\d{{1,15}}|-?\d{{1,12}}\.\d{{1,3}}|"(?:[ !#-\[\]-~]|\\["\\])*"|\?[01])'
ITEM = rf"{BARE_ITEM}(?:; *{KEY}(?:={BARE_ITEM})?)*"
STRUCTURED_LIST = re.compile(rf"{ITEM}(?:[ \t]*,[ \t]*{ITEM})*")
"""A list as RFC 8941, section 3.1, without inner lists and byte sequences."""

PLAIN = marks("success", 1, 0.0, 0.25, received=200)


def field(headers: Headers, name: bytes) -> str:
    [value] = [value for key, value in headers if key == name]
    return value.decode("ascii")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (PLAIN, "xero-proxy; received-status=200"),
        (
            marks("refused_minute", 0, 0.0, 0.0, error="http_request_denied"),
            "xero-proxy; error=http_request_denied",
        ),
        (
            marks("outcome_unknown", 2, 0.0, 9.0, received=502, error="connection_terminated"),
            "xero-proxy; received-status=502; error=connection_terminated",
        ),
        (marks("caller_left", 0, 0.0, 0.0), "xero-proxy"),
    ],
)
def test_proxy_status_says_what_came_from_upstream_and_what_from_here(
    headers: Headers, expected: str
) -> None:
    assert field(headers, b"Proxy-Status") == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (PLAIN, "queue;dur=0.0, upstream;dur=250.0"),
        (marks("x", 1, 1.23456, 0.0), "queue;dur=1234.6, upstream;dur=0.0"),
        (marks("x", 1, 61.5, 0.1, "minute"), 'queue;dur=61500.0;desc="minute", upstream;dur=100.0'),
    ],
)
def test_server_timing_is_in_milliseconds_and_names_what_was_waited_for(
    headers: Headers, expected: str
) -> None:
    assert field(headers, b"Server-Timing") == expected


@pytest.mark.parametrize("sends", [0, 1, 4])
def test_the_class_and_the_number_of_sends_are_told(sends: int) -> None:
    headers = marks("limit_minute", sends, 0.0, 0.0)
    assert field(headers, b"X-Xero-Proxy-Class") == "limit_minute"
    assert field(headers, b"X-Xero-Proxy-Attempts") == str(sends)


@given(
    st.builds(
        marks,
        name=st.sampled_from(["success", "limit_day", "refused_offline"]),
        sends=st.integers(0, 100),
        queue_seconds=st.floats(0.0, 86_400.0),
        upstream_seconds=st.floats(0.0, 86_400.0),
        limit=st.sampled_from(["", "failing", "backoff", "offline", *Limit]),
        received=st.none() | st.integers(100, 999),
        error=st.sampled_from(sorted({own.error for own in OWN.values()})),
    )
)
def test_what_is_a_structured_field_is_a_valid_one(headers: Headers) -> None:
    assert STRUCTURED_LIST.fullmatch(field(headers, b"Proxy-Status"))
    assert STRUCTURED_LIST.fullmatch(field(headers, b"Server-Timing"))
    assert all(value.decode("ascii").isprintable() for _, value in headers)
    assert len({name for name, _ in headers}) == len(headers)


@pytest.mark.parametrize("text", ["a b", "é", '"', "a; b=", "a,", ""])
def test_the_check_for_structured_fields_can_fail(text: str) -> None:
    assert not STRUCTURED_LIST.fullmatch(text)


@pytest.mark.parametrize("wall", [784111777.0, 784111777.999])
def test_the_date_is_that_of_rfc_9110(wall: float) -> None:
    assert date(wall) == (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT")


def test_a_field_is_taken_out_whatever_its_case_and_the_rest_stays_as_it_is() -> None:
    headers = ((b"Retry-After", b"1"), (b"X-A", b"2"), (b"retry-AFTER", b"3"), (b"x-a", b"4"))
    assert without(headers, b"retry-after") == ((b"X-A", b"2"), (b"x-a", b"4"))
    assert without(headers, b"x-b") == headers
