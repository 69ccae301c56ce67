"""Every request of the corpus against a sidecar before an origin that records and reads strictly."""

from __future__ import annotations

import re

import pytest

from tests.corpus.rows import Row, each, read_differences, read_rows
from tests.corpus.runner import Outcome, run_requests
from tests.corpus.strict import read_request

ROWS = read_rows("request")
DIFFERENCES = read_differences()
REFUSALS = {400, 405, 408, 413, 414, 417, 421, 431, 505}
_HOST = re.compile(rb"(?im)^host:[ \t]*([^\r\n]*)")
NAMES = frozenset(name.strip().lower() for row in ROWS for name in _HOST.findall(row.raw))
HOSTS = NAMES | {name.partition(b":")[0] for name in NAMES}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What a sidecar does that is reached under every name which the rows give it."""
    return run_requests(ROWS, HOSTS)


@each(ROWS)
def test_a_request_is_forwarded_once_and_framed_anew_or_refused(
    row: Row, outcomes: dict[str, Outcome]
) -> None:
    outcome = outcomes[row.id]
    assert not outcome.desynchronised
    assert not outcome.malformed
    assert outcome.answered.end == "closed"
    assert outcome.alive
    assert set(outcome.answered.statuses) <= REFUSALS | {200}
    assert len(outcome.forwarded) == outcome.answered.statuses.count(200)
    if row.id in DIFFERENCES:
        assert str(outcome) == DIFFERENCES[row.id].ours, DIFFERENCES[row.id].why
    else:
        assert as_expected(row, outcome), str(outcome)


@each(ROWS)
def test_what_is_forwarded_is_what_a_strict_reader_finds_in_the_row(
    row: Row, outcomes: dict[str, Outcome]
) -> None:
    rest = row.raw
    for one in outcomes[row.id].forwarded:
        read, rest = read_request(rest.lstrip(b"\r\n"))
        assert (one.method, one.target, one.body) == (read.method, read.target, read.body)
        assert one.start == one.method + b" " + one.target + b" HTTP/1.1"
        assert len(one.values(b"host")) == 1
        assert len(one.values(b"content-length")) <= 1
        assert not one.values(b"transfer-encoding")
        assert not one.values(b"connection")
        assert not any(b"xero-proxy" in value for value in one.values(b"via"))


def test_how_a_request_is_cut_into_segments_changes_only_whether_bytes_after_a_last_one_come_too_late(
    outcomes: dict[str, Outcome],
) -> None:
    """Bytes behind a request that was to be the last refuse it while it is not yet on its way; later they are
    thrown away.
    """
    cut = run_requests(ROWS, HOSTS, cut=True)
    for row in ROWS:
        before, after = outcomes[row.id], cut[row.id]
        assert not after.desynchronised
        assert not after.malformed
        assert (after.answered.end, after.alive) == ("closed", True)
        if str(before) == str(after):
            assert sent(before) == sent(after)
        else:
            first, rest = read_request(row.raw)
            assert first.values(b"connection") == [b"close"]
            assert rest
            assert (str(before), str(after), sent(after)) == (
                "400",
                "200",
                [(first.method, first.target, first.body)],
            )


def test_no_request_that_names_a_public_host_is_forwarded() -> None:
    rows = [row for row in ROWS if any(b"." in name for name in _HOST.findall(row.raw))]
    if not rows:
        pytest.skip("the corpus is not there")
    foreign = {b"example.com", b"example.org", b"github.com"}
    outcomes = run_requests(rows, frozenset())
    forwarded = [row for row in rows if outcomes[row.id].forwarded]
    assert not any(outcome.desynchronised or outcome.malformed for outcome in outcomes.values())
    assert not [row for row in forwarded if foreign & set(_HOST.findall(row.raw))]


def test_every_difference_is_one(outcomes: dict[str, Outcome]) -> None:
    known = {row.id: row for row in ROWS}
    if not known:
        pytest.skip("the corpus is not there")
    stale = [name for name in DIFFERENCES if name in known and as_expected(known[name], outcomes[name])]
    unknown = DIFFERENCES.keys() - known.keys() - {row.id for row in read_rows("response")}
    assert (stale, unknown) == ([], set())


def sent(outcome: Outcome) -> list[tuple[bytes, bytes, bytes]]:
    """What was forwarded, without the fields."""
    return [(one.method, one.target, one.body) for one in outcome.forwarded]


def as_expected(row: Row, outcome: Outcome) -> bool:
    """Whether the proxy does what the row expects; of `either` it does one."""
    statuses = set(outcome.answered.statuses)
    if row.expect == "reject":
        return not outcome.forwarded and 200 not in statuses
    return row.expect == "either" or statuses == {200}
