"""What the proxy relies on in aiohttp's parsers. A new aiohttp that changes it fails here first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proxy import wire
from proxy.core.fields import Fields
from proxy.core.strict import Problem, Refusal, RequestHead
from proxy.wire import Heads, check_aiohttp, partial_head_problem, response_head

GET = b"GET /a%2Fb?c=%zz HTTP/1.1\r\nHost: x\r\nX-One: a\xff\r\nx-ONE:\t b \r\n\r\n"


def kind(head: bytes) -> Refusal | None:
    result = Heads.of_requests().request(head)
    return result.kind if isinstance(result, Problem) else None


def test_this_aiohttp_will_do() -> None:
    check_aiohttp()


def test_all_of_aiohttp_can_be_imported_after_its_parsers_and_before_them() -> None:
    """The parsers are loaded without the rest, which the simulator and the demo use."""
    for first, then in (("proxy.wire", "aiohttp.web"), ("aiohttp.web", "proxy.wire")):
        script = f"""
import sys, {first}, {then}
from aiohttp import ClientSession, hdrs, http
parsers = proxy.wire._parsers
print(http.HttpRequestParser is parsers.HttpRequestParser, aiohttp.hdrs is hdrs, bool(ClientSession))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["True"] * 3


def test_an_old_aiohttp_or_one_without_its_c_parser_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wire, "version", lambda _name: "3.14.3")
        with pytest.raises(RuntimeError, match=r"3\.14\.4"):
            check_aiohttp()
    monkeypatch.setattr(wire, "_parsers", None)
    with pytest.raises(RuntimeError, match="C parser"):
        check_aiohttp()


def test_a_request_head_keeps_target_order_case_and_bytes() -> None:
    head = Heads.of_requests().request(GET)
    assert isinstance(head, RequestHead)
    assert head.fields.raw == ((b"Host", b"x"), (b"X-One", b"a\xff"), (b"x-ONE", b"b"))
    assert head._replace(fields=Fields()) == ("GET", b"/a%2Fb?c=%zz", {}, False, True, False)


def test_one_parser_serves_any_order_of_good_bad_last_and_upgrading_heads() -> None:
    heads = Heads.of_requests()
    others = [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad name: x\r\n\r\n",
    ]
    good = heads.request(GET)
    for other in others:
        heads.request(other)
        assert heads.request(GET) == good


def test_upgrades_and_last_requests_are_told() -> None:
    upgrade = Heads.of_requests().request(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert isinstance(upgrade, RequestHead)
    assert upgrade.upgrade
    last = Heads.of_requests().request(b"GET / HTTP/1.0\r\n\r\n")
    assert isinstance(last, RequestHead)
    assert (last.http10, last.keep_alive) == (True, False)


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
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"GET / ICE/1.1\r\nHost: x\r\n",
        b"GET /\r\nHost: x\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: x\r\n",
    ],
)
def test_what_is_no_strict_http_is_refused(lines: bytes) -> None:
    assert kind(lines + b"\r\n") is Refusal.MALFORMED


@pytest.mark.parametrize("version", [b"2.0", b"1.2", b"0.9"])
def test_other_versions_are_refused_as_such(version: bytes) -> None:
    assert kind(b"GET / HTTP/" + version + b"\r\nHost: x\r\n\r\n") is Refusal.VERSION


@pytest.mark.parametrize("method", [b"FOO", b"BREW", b"FOO-BAR"])
def test_a_method_that_the_parser_does_not_know_is_refused_as_such(method: bytes) -> None:
    problem = Heads.of_requests().request(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
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
        assert "canary" not in repr(Heads.of_requests().request(head))


def test_a_response_head_keeps_reason_order_case_bytes_and_repetition() -> None:
    head = Heads.of_responses().response(
        b"HTTP/1.1 200 \xc3\xa9\xff\r\nServer: a\r\nserver: b\r\nX: \xfe\r\nContent-Length: 0\r\n\r\n"
    )
    assert head is not None
    assert (head.status, head.reason, head.keep_alive) == (200, b"\xc3\xa9\xff", True)
    assert head.fields.raw == (
        (b"Server", b"a"),
        (b"server", b"b"),
        (b"X", b"\xfe"),
        (b"Content-Length", b"0"),
    )


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nA: b\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"ICE/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    ],
)
def test_a_response_that_lenient_parsers_take_is_refused(head: bytes) -> None:
    assert Heads.of_responses().response(head) is None


def test_the_beginning_of_a_head_is_judged_early() -> None:
    assert partial_head_problem(b"GET / HTTP/1.1\r\nHost: x\r") is None
    assert partial_head_problem(b"") is None
    assert partial_head_problem(b" GET") is not None
    assert partial_head_problem(b"\r") is None
    assert partial_head_problem(b"GET / HTTP/1.1\nHost: x") is not None
    assert partial_head_problem(b"x" * 70000) is not None


def test_a_response_head_is_written_byte_for_byte() -> None:
    assert response_head(200, b"\xff", ((b"a", b"\xfe"), (b"A", b"")), b"X: y\r\n\r\n") == (
        b"HTTP/1.1 200 \xff\r\na: \xfe\r\nA: \r\nX: y\r\n\r\n"
    )
