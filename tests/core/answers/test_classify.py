from __future__ import annotations

import gzip
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.responses import load_responses
from proxy.core.answers.classify import (
    BODY_BYTES,
    Match,
    ResponseTable,
    Row,
    classify,
    failure_class,
    foresee,
)
from proxy.core.model import Execution, Headers, ResponseClass
from proxy.core.wire.fields import Fields

NAMES = ("plain", "by_header", "by_body", "by_api", "by_all", "hundred", "garbage")
PLAIN, BY_HEADER, BY_BODY, BY_API, BY_ALL, HUNDRED, GARBAGE = (
    ResponseClass(name, Execution.DONE) for name in NAMES
)
HEADER = ((b"x-problem", re.compile(b"min.*", re.IGNORECASE)),)
TABLE = ResponseTable(
    rows={
        200: (Row(PLAIN),),
        503: (
            Row(BY_ALL, Match(HEADER, (b"offline",), frozenset({"files"}))),
            Row(BY_HEADER, Match(headers=HEADER)),
            Row(BY_BODY, Match(body=(b"other words", b"offline"))),
            Row(BY_API, Match(apis=frozenset({"projects"}))),
        ),
    },
    hundreds={5: HUNDRED},
    garbage=GARBAGE,
    named={"garbage": GARBAGE},
)
REAL = load_responses()


@pytest.mark.parametrize(
    ("status", "headers", "first", "api", "expected"),
    [
        (200, ((b"X-Problem", b"minute"),), b"offline", "files", PLAIN),
        (503, ((b"X-Problem", b"minute"),), b"offline", "files", BY_ALL),
        (503, ((b"X-PROBLEM", b" MINUTE\t"),), b"offline", "accounting", BY_HEADER),
        (503, ((b"x-problem", b"day"), (b"x-problem", b"min")), b"", "accounting", BY_HEADER),
        (503, ((b"x-problem", b"the minute"),), b"is OffLine now", "accounting", BY_BODY),
        (503, (), b"", "projects", BY_API),
        (503, (), b"", "accounting", HUNDRED),
        (504, (), b"", "accounting", HUNDRED),
        (404, (), b"", "accounting", GARBAGE),
        (0, (), b"", "accounting", GARBAGE),
    ],
)
def test_the_first_row_whose_conditions_all_fit_decides(
    status: int, headers: Headers, first: bytes, api: str, expected: ResponseClass
) -> None:
    assert classify(TABLE, status, Fields(headers), first, api) is expected


def test_only_the_beginning_of_a_body_is_searched() -> None:
    assert classify(TABLE, 503, Fields(), b" " * (BODY_BYTES - 7) + b"offline", "") is BY_BODY
    assert classify(TABLE, 503, Fields(), b" " * (BODY_BYTES - 6) + b"offline", "") is HUNDRED


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(b"is offline", mtime=0)),
        (b" X-GZIP", gzip.compress(b"is offline", mtime=0)),
        (b"deflate", zlib.compress(b"is offline")),
        (b"gzip", gzip.compress(b"is offline" + bytes(100_000), mtime=0)[:-20]),
    ],
)
def test_a_compressed_body_is_searched_as_what_it_says(coding: bytes, body: bytes) -> None:
    assert classify(TABLE, 503, Fields(((b"Content-Encoding", coding),)), body, "") is BY_BODY


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", b"offline"),
        (b"br", gzip.compress(b"offline", mtime=0)),
        (b"gzip", gzip.compress(bytes(5000) + b"offline", mtime=0)),
    ],
)
def test_a_body_that_cannot_be_read_leaves_the_decision_to_the_status(coding: bytes, body: bytes) -> None:
    assert classify(TABLE, 503, Fields(((b"Content-Encoding", coding),)), body, "") is HUNDRED


def test_a_class_is_found_by_its_name() -> None:
    assert failure_class(TABLE, "garbage") is GARBAGE


@given(
    st.integers(-1, 1000),
    st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=4).map(tuple),
    st.binary(max_size=200),
    st.text(max_size=10),
)
def test_any_response_has_a_class(status: int, headers: Headers, first: bytes, api: str) -> None:
    found = classify(REAL, status, Fields(headers), first, api)
    if not 200 <= status <= 599:
        assert found.name == "upstream_garbage"


@given(st.integers(100, 599), st.binary(max_size=100), st.binary(max_size=100))
def test_a_body_never_turns_an_answer_that_is_no_5xx_into_one_that_may_be_sent_again(
    status: int, before: bytes, after: bytes
) -> None:
    body = before + b"The Organisation is offline" + after
    found = classify(REAL, status, Fields(), body, "accounting")
    if 200 <= status < 500 and status != 429:
        assert found.execution is Execution.DONE
        assert found.hold is None


@pytest.mark.parametrize(
    ("status", "headers", "first", "expected"),
    [
        (200, (), b"", PLAIN),
        (404, (), b"", GARBAGE),
        (503, ((b"X-Problem", b"minute"),), b"", BY_HEADER),
        (503, (), b"", None),
        (503, (), b"off", None),
        (503, (), b"it is offline", BY_BODY),
        (503, (), b" " * BODY_BYTES, HUNDRED),
        (503, ((b"Content-Encoding", b"gzip"),), gzip.compress(b" " * 2 * BODY_BYTES, mtime=0), HUNDRED),
        (503, ((b"Content-Encoding", b"gzip"),), gzip.compress(b"it is offline", mtime=0)[:-8], BY_BODY),
    ],
)
def test_the_beginning_of_a_response_means_what_no_more_of_it_can_change(
    status: int, headers: Headers, first: bytes, expected: ResponseClass | None
) -> None:
    assert foresee(TABLE, status, Fields(headers), first, "accounting") is expected


@given(st.integers(200, 599), st.binary(max_size=64), st.integers(0, 64))
def test_what_the_beginning_of_a_response_means_the_whole_means_too(
    status: int, noise: bytes, cut: int
) -> None:
    body = noise + b"The Organisation is offline"
    early = foresee(REAL, status, Fields(), body[:cut], "accounting")
    assert early is None or early is classify(REAL, status, Fields(), body, "accounting")
