from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Headers
from proxy.core.wire.fields import Fields
from proxy.core.wire.strict import METHODS, Accepted, Own, Problem, Refusal, RequestHead, check_request

OWN = Own(frozenset({b"proxy.example.com"}), frozenset({b"example.org"}))
GOOD_HOSTS = [
    b"127.0.0.1:8080",
    b"10.1.2.3",
    b"[::1]:8080",
    b"[::ffff:10.1.2.3]",
    b"localhost",
    b"LocalHost.:80",
    b"xero-proxy:8080",
    b"xero-proxy.payments.svc",
    b"xero-proxy.payments.svc.cluster.local",
    b"xero-proxy.my-team:8080",
    b"xero-proxy.team2",
    b"xero-proxy.default",
    b"host.docker.internal:8080",
    b"app.localhost",
    b"xero.test:80",
    b"proxy.home.arpa",
    b"PROXY.example.com:443",
    b"example.org",
    b"a.b.Example.org",
]
FOREIGN_HOSTS = [
    b"evil.example",
    b"evil.example.com:8080",
    b"localhost.evil.com",
    b"127.0.0.1.evil.com",
    b"a.b",
    b"xero-proxy.billing",
    b"evil.xn--p1ai",
    b"evil.com%00",
    b"evil.c_m",
    b"home.evil.arpa",
    b"evilexample.org",
    b"a..",
    b"test.com",
]
HOST = (b"Host", b"localhost:8080")


def check(
    target: bytes = b"/", *fields: tuple[bytes, bytes], method: str = "GET", http10: bool = False
) -> Problem | Accepted:
    headers: Headers = (HOST, *fields)
    return check_request(RequestHead(method, target, Fields(headers), http10, not http10, False), OWN)


def kind(result: Problem | Accepted) -> Refusal | None:
    return result.kind if isinstance(result, Problem) else None


def test_a_good_request_says_what_its_body_is() -> None:
    assert check(b"/a?b=%zz") == Accepted(b"/a?b=%zz", None, False, False)
    assert check(b"/", (b"content-length", b"007"), (b"X-Mine", b"1"), method="POST") == Accepted(
        b"/", 7, False, False
    )
    chunked = check(b"/", (b"Transfer-Encoding", b"Chunked"), (b"Expect", b"100-Continue"), method="POST")
    assert chunked == Accepted(b"/", None, True, True)


def test_an_expectation_of_http_1_0_is_ignored() -> None:
    assert check(b"/", (b"Expect", b"100-continue"), http10=True) == Accepted(b"/", None, False, False)


@pytest.mark.parametrize(
    "method", ["CONNECT", "TRACE", "PURGE", "SOURCE", "PRI", "PROPFIND", "M-SEARCH", "get"]
)
def test_only_methods_that_xero_knows_are_forwarded(method: str) -> None:
    assert kind(check(method=method)) is Refusal.METHOD


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"",
        b"a",
        b"//evil.test/",
        b".evil.test:443",
        b"evil.test:443",
        b"@evil.test/",
        b"ftp://localhost:8080/",
    ],
)
def test_a_target_that_is_no_plain_path_is_refused(target: bytes) -> None:
    assert kind(check(target)) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "target", [b"/a#b", b"/a b", b"/\xff", b"/\x00", b"/\x7f", b"/a\tb", b"http://localhost:8080//x"]
)
def test_a_target_with_bytes_that_must_be_encoded_or_a_fragment_is_refused(target: bytes) -> None:
    assert kind(check(target)) is Refusal.MALFORMED


@pytest.mark.parametrize("host", [*FOREIGN_HOSTS, b"api.xero.com", b"localhost:8080@evil.test", b"", b"a b"])
def test_an_absolute_target_that_names_another_host_is_refused(host: bytes) -> None:
    refused = kind(check(b"http://" + host + b"/x"))
    assert refused is (Refusal.MALFORMED if b" " in host else Refusal.MISDIRECTED)


@pytest.mark.parametrize("host", GOOD_HOSTS)
@pytest.mark.parametrize(
    ("scheme", "rest", "path"), [(b"http", b"/a?b", b"/a?b"), (b"HTTPS", b"", b"/"), (b"http", b"?x", b"/?x")]
)
def test_an_absolute_target_may_name_whatever_host_may(
    host: bytes, scheme: bytes, rest: bytes, path: bytes
) -> None:
    assert check(scheme + b"://" + host + rest) == Accepted(path, None, False, False)


def test_a_target_has_a_length_limit() -> None:
    assert kind(check(b"/" + b"a" * 16 * 1024)) is Refusal.TARGET_TOO_LONG


@pytest.mark.parametrize(
    "host", [b"", b"a b", b"a/b", b"a,b", b"user@a", b"a:99999999", b"[::1", b"a:b", b"\xff"]
)
def test_a_malformed_host_is_refused(host: bytes) -> None:
    head = RequestHead("GET", b"/", Fields(((b"Host", host),)), False, True, False)
    assert kind(check_request(head, OWN)) is Refusal.MALFORMED


def test_host_is_needed_in_http_1_1_alone() -> None:
    for http10, refused in ((False, Refusal.MALFORMED), (True, None)):
        head = RequestHead("GET", b"/", Fields(), http10, not http10, False)
        assert kind(check_request(head, OWN)) is refused


@pytest.mark.parametrize("http10", [False, True])
@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_host_may_be_an_address_a_private_name_or_one_of_ours(host: bytes, http10: bool) -> None:
    head = RequestHead("GET", b"/", Fields(((b"Host", host),)), http10, True, False)
    assert kind(check_request(head, OWN)) is None


@pytest.mark.parametrize("http10", [False, True])
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_public_name_of_somebody_else_in_host_is_misdirected(host: bytes, http10: bool) -> None:
    head = RequestHead("GET", b"/", Fields(((b"Host", host),)), http10, True, False)
    assert kind(check_request(head, OWN)) is Refusal.MISDIRECTED


@pytest.mark.parametrize(
    "name",
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Authorization",
        b"xero-tenant-id",
        b"Idempotency-Key",
    ],
)
def test_a_field_on_which_a_decision_rests_comes_once(name: bytes) -> None:
    value = b"chunked" if name == b"Transfer-Encoding" else b"1"
    assert kind(check(b"/", (name, value), (name.lower(), value))) is Refusal.MALFORMED


@pytest.mark.parametrize("name", [b"User-Agent", b"Server", b"Content-Type", b"ETag", b"Content-Location"])
def test_a_field_on_which_no_decision_rests_may_be_repeated_alike(name: bytes) -> None:
    assert kind(check(b"/", (name, b"a/1"), (name.lower(), b"a/1"))) is None
    assert kind(check(b"/", (name, b"a/1"), (name.lower(), b"a/2"))) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"identity")],
        [(b"Transfer-Encoding", b"")],
        [(b"Content-Length", b"+1")],
        [(b"Content-Length", b"1,1")],
        [(b"Content-Length", b"")],
        [(b"Content-Length", b"0x1")],
        [(b"Content-Length", b"9" * 16)],
    ],
)
def test_framing_that_has_two_readings_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    assert kind(check(b"/", *fields, method="POST")) is Refusal.MALFORMED


def test_a_transfer_coding_in_http_1_0_is_refused() -> None:
    assert kind(check(b"/", (b"Transfer-Encoding", b"chunked"), http10=True)) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "name", [b"Authorization", b"xero-tenant-id", b"Host", b"Content-Length", b"idempotency-key"]
)
def test_connection_may_not_take_away_what_is_needed(name: bytes) -> None:
    assert kind(check(b"/", (b"Connection", b"close, " + name))) is Refusal.MALFORMED
    assert kind(check(b"/", (b"Connection", b"close"), (b"connection", name))) is Refusal.MALFORMED


def test_connection_may_list_anything_else() -> None:
    assert kind(check(b"/", (b"Connection", b"keep-alive, TE, X-Mine"))) is None


def test_no_other_expectation_can_be_met() -> None:
    assert kind(check(b"/", (b"Expect", b"200-ok"))) is Refusal.EXPECTATION


def test_every_refusal_has_a_status() -> None:
    assert {refusal.status for refusal in Refusal} == {400, 405, 408, 413, 414, 417, 421, 431, 500, 505}


@given(st.sampled_from(sorted(METHODS)), st.binary(max_size=40), st.binary(max_size=20))
def test_whatever_is_accepted_is_a_path_with_exactly_one_slash_in_front(
    method: str, target: bytes, host: bytes
) -> None:
    """Nothing that a caller sends can become another host where target and origin are put together."""
    result = check_request(RequestHead(method, target, Fields(((b"Host", host),)), False, True, False), OWN)
    if isinstance(result, Accepted):
        assert result.target.startswith(b"/")
        assert not result.target.startswith(b"//")
        assert all(0x20 < byte < 0x7F for byte in result.target)
