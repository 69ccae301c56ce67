from __future__ import annotations

import re

import pytest
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wire import heads
from proxy.core.wire.heads import (
    Lines,
    read_request,
    reason_phrase,
    response_head,
)
from proxy.core.wire.strict import Own, Problem, Refusal, RequestHead, check_request

GET = b"GET /a%2Fb?c=%zz HTTP/1.1\r\nHost: x\r\nX-One: a\xff\r\nx-ONE:\t b \r\n\r\n"


def request(head: bytes) -> RequestHead | Problem:
    return read_request(head, Lines())


def kind(head: bytes) -> Refusal | None:
    result = request(head)
    if isinstance(result, RequestHead) and isinstance(checked := check_request(result, Own()), Problem):
        return checked.kind
    return result.kind if isinstance(result, Problem) else None


def test_a_request_head_keeps_target_order_case_and_bytes() -> None:
    head = request(GET)
    assert isinstance(head, RequestHead)
    assert head.fields.raw == ((b"Host", b"x"), (b"X-One", b"a\xff"), (b"x-ONE", b"b"))
    assert head == RequestHead("GET", b"/a%2Fb?c=%zz", head.fields, False, True, False)


def test_upgrades_and_last_requests_are_told() -> None:
    upgrade = request(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a ,\tUpGrade\r\nUpgrade: websocket\r\n\r\n")
    assert isinstance(upgrade, RequestHead)
    assert (upgrade.upgrade, upgrade.keep_alive) == (True, True)
    for start, options, keep_alive in (
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: x, Keep-Alive\r\n", True),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.1", b"Connection: x,CLOSE \r\n", False),
        (b"GET / HTTP/1.1", b"Connection: closed\r\n", True),
    ):
        last = request(start + b"\r\n" + options + b"\r\n")
        assert isinstance(last, RequestHead)
        assert (last.http10, last.keep_alive) == (start.endswith(b"0"), keep_alive)


@pytest.mark.parametrize(
    "lines",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n",  # folded
        b"GET / HTTP/1.1\r\nHost: x\r\nX : a\r\n",  # blank before the colon
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n",  # bare LF
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n",  # bare CR
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x7fb\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n",
        b"GET / HTTP/1.1\r\n",  # no Host
        b"g<t / HTTP/1.1\r\nHost: x\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"GET / ICE/1.1\r\nHost: x\r\n",
        b"GET /\r\nHost: x\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: x\r\n",
        b"GET / HTTP/1.1\r\n Host: x\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n",
        b"GET /\t HTTP/1.1\r\nHost: x\r\n",
        b"GET /\n HTTP/1.1\r\nHost: x\r\n",
        b"GET /\r HTTP/1.1\r\nHost: x\r\n",
        b"GET / HTTP/1.1 \r\nHost: x\r\n",
        b"GET / HTTP/1.1\x00\r\nHost: x\r\n",
    ],
)
def test_what_is_no_strict_http_is_refused(lines: bytes) -> None:
    assert kind(lines + b"\r\n") is Refusal.MALFORMED


@pytest.mark.parametrize("version", [b"2.0", b"1.2", b"0.9"])
def test_other_versions_are_refused_as_such(version: bytes) -> None:
    assert kind(b"GET / HTTP/" + version + b"\r\nHost: x\r\n\r\n") is Refusal.VERSION


@pytest.mark.parametrize("method", [b"FOO", b"BREW", b"FOO-BAR", b"TRACE", b"get", b"patch", b"Head", b"1*"])
def test_a_method_that_is_not_forwarded_is_refused_as_such(method: bytes) -> None:
    problem = request(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert isinstance(problem, Problem)
    assert problem.kind is Refusal.METHOD


def test_a_head_has_limits() -> None:
    assert kind(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 201 + b"\r\n") is Refusal.HEAD_TOO_LARGE
    assert kind(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 65536 + b"\r\n\r\n") is Refusal.HEAD_TOO_LARGE
    assert kind(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 7998 + b"\r\n\r\n") is Refusal.HEAD_TOO_LARGE
    assert kind(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 7997 + b"\r\n\r\n") is None
    assert kind(b"GET /" + b"a" * 16000 + b" HTTP/1.1\r\nHost: x\r\n\r\n") is None
    assert kind(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 199 + b"\r\n") is None


def test_no_problem_quotes_the_request() -> None:
    for head in (
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : canary\r\n\r\n",
        b"canary\r\n\r\n",
        b"canary\x00\r\n\r\n",
    ):
        assert "canary" not in repr(request(head))


def test_a_response_head_is_written_byte_for_byte() -> None:
    assert response_head(200, b"\xff", ((b"a", b"\xfe"), (b"A", b"")), b"X: y\r\n\r\n") == (
        b"HTTP/1.1 200 \xff\r\na: \xfe\r\nA: \r\nX: y\r\n\r\n"
    )


LINES = st.sampled_from(
    [b"Host: x", b"host:x ", b"Accept: a", b"Connection: close", b"Connection: keep-alive"]
)
BROKEN = st.builds(
    lambda line, at, byte: line[:at] + byte + line[at:], LINES, st.integers(0, 20), st.binary(max_size=1)
)
BLOCKS = st.lists(LINES | BROKEN | st.binary(max_size=9), max_size=6).map(lambda lines: [b"Host: x", *lines])
STARTS = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /a?b HTTP/1.0", b"GET /  HTTP/1.1", b"GET /\xff HTTP/1.1"]
)


def whole(start: bytes, lines: list[bytes]) -> bytes:
    """A head without an empty line inside."""
    return re.sub(rb"(?:\r\n){2,}", b"\r\n", b"\r\n".join([start, *lines])).rstrip(b"\r\n") + b"\r\n\r\n"


@given(STARTS, BLOCKS)
def test_what_is_read_another_strict_parser_reads_in_the_same_way(start: bytes, lines: list[bytes]) -> None:
    head = whole(start, lines)
    ours = request(head)
    if isinstance(ours, Problem) or isinstance(check_request(ours, Own()), Problem):
        return
    theirs = HttpRequestParser(None, None, 2**16, max_line_size=2**16).feed_data(head)[0][0][0]
    assert (ours.method, ours.target) == (theirs.method, theirs.path.encode("utf-8", "surrogateescape"))
    assert ours.fields.raw == theirs.raw_headers
    assert not (ours.keep_alive and theirs.should_close)


@given(st.lists(st.tuples(STARTS, BLOCKS), max_size=8))
def test_what_was_read_before_changes_nothing(messages: list[tuple[bytes, list[bytes]]]) -> None:
    remembered = Lines()
    for start, block in messages:
        head = whole(start, block)
        assert repr(read_request(head, remembered)) == repr(request(head))


def test_no_more_than_a_bound_and_no_secret_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "LINES_KEPT", 2)
    remembered = Lines()
    assert remembered.fields([b"Authorization: Bearer canary", b"Cookie: canary", b"X-Api-Key: canary"])
    assert remembered.fields([b"User-Agent: " + b"canary" * 100])
    for name in (b"a", b"b", b"c"):
        assert remembered.fields([b"Host: " + name]) == {b"host": name}
    assert not remembered.blocks
    known = remembered._known
    assert known.keys() == {b"Host: c"}


def test_the_fields_of_a_request_are_kept_unless_they_are_of_one_request_or_large() -> None:
    remembered = Lines()
    first, again = (read_request(GET, remembered) for _ in range(2))
    assert isinstance(first, RequestHead)
    assert isinstance(again, RequestHead)
    assert again.fields is first.fields
    others = [
        b"Content-Length: 0",
        b"Idempotency-Key: a",
        b"Transfer-Encoding: chunked",
        b"A: " + b"a" * 5000,
    ]
    for line in (*others, b"\r\n".join([b"A: a"] * 50)):
        read_request(b"PUT / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n", remembered)
    assert len(remembered.blocks) == 1


def test_no_more_than_a_bound_of_blocks_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "BLOCKS_KEPT", 2)
    remembered = Lines()
    for name in (b"a", b"b", b"c"):
        read_request(b"GET / HTTP/1.1\r\nHost: " + name + b"\r\n\r\n", remembered)
    assert list(remembered.blocks) == [b"Host: c\r\n\r\n"]


def test_the_head_of_an_answer_names_its_status_as_rfc_9110_does() -> None:
    head = response_head(421, reason_phrase(421), ((b"A", b"1"),), b"\r\n")
    assert head == b"HTTP/1.1 421 Misdirected Request\r\nA: 1\r\n\r\n"
