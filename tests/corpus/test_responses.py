"""Every response of the corpus, from an origin that is asked a good request."""

from __future__ import annotations

import re

import pytest

from tests.corpus.rows import Row, each, read_differences, read_rows
from tests.corpus.runner import Outcome, run_responses
from tests.corpus.strict import Message, read_response

ROWS = read_rows("response")
DIFFERENCES = read_differences()
OURS = {502, 504}


@pytest.fixture(scope="module")
def closing() -> dict[str, Outcome]:
    """What becomes of the responses where the connection ends after them."""
    return run_responses(ROWS)


@pytest.fixture(scope="module")
def keeping() -> dict[str, Outcome]:
    """What becomes of the responses where the connection stays."""
    return run_responses(ROWS, keeps=True)


@each(ROWS)
def test_a_response_is_passed_on_whole_or_answered_with_an_error_of_our_own(
    row: Row, closing: dict[str, Outcome]
) -> None:
    got = answer(closing[row.id])
    ours = bool(got.values(b"proxy-status")) and b"error=" in got.values(b"proxy-status")[0]
    if not ours:
        sent, _ = read_response(strict(row.raw.removeprefix(b"\r\n")))
        assert (got.status, got.body) == (sent.status, sent.body)
    if row.id in DIFFERENCES:
        assert str(got.status) == DIFFERENCES[row.id].ours, DIFFERENCES[row.id].why
    elif row.expect != "either":
        assert ours is (row.expect == "reject"), got.start


@each(ROWS)
def test_what_follows_a_response_never_reaches_another_caller(row: Row, keeping: dict[str, Outcome]) -> None:
    got = answer(keeping[row.id])
    if row.expect == "reject" and row.id not in DIFFERENCES:
        assert got.status in OURS


def test_how_a_response_is_cut_into_segments_changes_nothing(closing: dict[str, Outcome]) -> None:
    cut = run_responses(ROWS, cut=True)
    for row in ROWS:
        before, after = answer(closing[row.id]), answer(cut[row.id])
        assert before.start == after.start
        assert before.body == after.body or before.status in OURS


def test_every_difference_is_one(closing: dict[str, Outcome]) -> None:
    expected = {row.id for row in ROWS if (answer(closing[row.id]).status in OURS) is not row.forwards}
    assert not DIFFERENCES.keys() & expected


def strict(raw: bytes) -> bytes:
    """What aiohttp's parser understands, in strict HTTP: it knows other names of the protocol, and minds no
    line that ends with a line feed alone and no blanks behind a chunk's size.
    """
    raw = re.sub(rb"\A(?:RTSP|ICE)/", b"HTTP/", raw)
    if b"\r\n" not in raw:
        head, _, body = raw.partition(b"\n\n")
        raw = head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body
    return re.sub(rb"(?m)^([0-9A-F]+) +\r$", rb"\1\r", raw)


def answer(outcome: Outcome) -> Message:
    """The one answer, well-formed and with nothing after it; the next caller got its own."""
    got, rest = read_response(outcome.answered.received)
    assert (rest, outcome.answered.end, outcome.alive) == (b"", "closed", True)
    assert (len(outcome.forwarded), outcome.malformed) == (1, "")
    return got
