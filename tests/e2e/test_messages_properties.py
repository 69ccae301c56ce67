"""What holds of every request, over real sockets: what is sent on, and where to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Headers
from tests.corpus.runner import Outcome, Recorder, exchange, recorder
from tests.corpus.strict import Message, read_request
from tests.e2e.harness import Running, sidecar

HOP_BY_HOP = {
    b"connection",
    b"content-length",
    b"expect",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"prefer",
    b"priority",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
NEEDED = {b"authorization", b"xero-tenant-id", b"idempotency-key", b"content-type", b"accept", b"via"}
REFUSALS = {400, 405, 408, 413, 414, 417, 421, 431, 505}

methods = st.sampled_from([b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"POST", b"PUT", b"PATCH"])
cases = st.sampled_from([bytes.lower, bytes.upper, bytes.title])
others = [b"x-one", b"x-two", b"accept-language", b"cookie", b"via", b"if-match", b"if-none-match"]
dropped = [b"te", b"keep-alive", b"proxy-connection", b"trailer", b"http2-settings", b"priority"]
names = st.builds(lambda name, case: case(name), st.sampled_from(others + dropped), cases)
values = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", min_codepoint=32), max_size=9).map(
    lambda value: value.encode().strip(b" \t")
)
fields = st.lists(st.tuples(names, values), max_size=8).map(tuple)
options = st.lists(
    st.sampled_from([b"x-one", b"X-TWO", b"close", b"keep-alive", b"cookie", *NEEDED]), max_size=3
)
hosts = st.sampled_from(
    [b"localhost", b"evil.example", b"evil", b"evil.example:443", b"[::1]:8080", b"", b"a@b"]
)
pieces = st.sampled_from(
    rb"/ // http:// https:// evil.example :443 @ ? # \ .. %2f * connect/token a 127.0.0.1 [::1]".split()
) | st.sampled_from([b" ", b"\t", b"\r\n", b"\x00"])
targets = st.lists(pieces, max_size=6).map(b"".join)
GOOD = (
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
    b"GET /a HTTP/1.0\r\nHost: a\r\nX: b\r\n\r\n",
)
scraps = st.sampled_from(
    [bytes([byte]) for byte in b"\r\n \t\x00\x0b\x7f\xff:;,01-+/"]
    + [b"\r\n", b"chunked", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n"]
)
edits = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 3), scraps), min_size=1, max_size=3)


class Stage:
    """A sidecar and its origin in a loop of virtual time, and all addresses that it connected to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: Recorder, proxy: Running) -> None:
        self.origin = origin
        self._loop = loop
        self._proxy = proxy
        self._connected: set[tuple[str, int]] = set()
        connect = loop.sock_connect

        async def watched(endpoint: socket.socket, address: Any) -> None:
            self._connected.add(address)
            await connect(endpoint, address)

        vars(loop)["sock_connect"] = watched

    def send(self, raw: bytes) -> Outcome:
        """Send bytes on a connection of their own; only the origin may have been connected to."""
        answered = self._loop.run_until_complete(exchange(self._proxy.car.port, raw))
        address = self.origin.address
        assert self._connected <= {("127.0.0.1", self._proxy.car.port), (address.host, address.port)}
        outcome = Outcome(answered, *self.origin.take(), alive=True)
        assert not outcome.desynchronised
        assert not outcome.malformed
        assert answered.end == "closed"
        assert set(answered.statuses) <= REFUSALS | {200}
        for sent in outcome.forwarded:
            assert sent.values(b"host") == [address.authority]
            assert sent.start.split(b" ")[1].startswith(b"/")
        return outcome


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One for all examples, because starting one takes longer than a request."""
    loop = looptime.new_event_loop(start=0.0)
    stack = contextlib.AsyncExitStack()

    async def start() -> Stage:
        origin = await stack.enter_async_context(recorder())
        no_limit = {"tenant_day_limit": 10_000_000, "idempotency": "false"}
        proxy = await stack.enter_async_context(sidecar(str(origin.address), **no_limit))
        # What is sent has no credentials: that is another question.
        stack.enter_context(patch("proxy.core.answers.route.has_credentials", return_value=True))
        return Stage(loop, origin, proxy)

    yield loop.run_until_complete(start())
    loop.run_until_complete(stack.aclose())
    loop.close()


@given(
    methods,
    fields,
    options,
    st.none() | st.lists(st.binary(min_size=1, max_size=9), max_size=4),
    st.booleans(),
)
def test_what_goes_on_is_end_to_end_unchanged_and_framed_once(
    stage: Stage,
    method: bytes,
    given: Headers,
    listed: list[bytes],
    chunks: list[bytes] | None,
    chunked: bool,
) -> None:
    body = b"".join(chunks or ())
    framed: Headers = ((b"Connection", b", ".join(listed)),)
    wire = body
    if chunks is not None and chunked:
        framed += ((b"Transfer-Encoding", b"chunked"),)
        wire = (
            b"".join(b"%X;x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-One: 1\r\n\r\n"
        )
    elif chunks is not None:
        framed += ((b"Content-Length", b"%d" % len(body)),)
    sent = stage.send(_request(method + b" /a%2Fb?c=%zz", ((b"Host", b"a"), *given, *framed), wire)).forwarded
    gone = {option.lower() for option in listed}
    if gone & NEEDED:
        assert sent == ()
        return
    kept = [field for field in given if field[0].lower() not in HOP_BY_HOP | gone]
    spelled = {name.lower(): name for name, _ in reversed(kept)}
    expected = [(spelled[name.lower()], value) for name, value in kept]
    (one,) = sent
    assert one.start == method + b" /a%2Fb?c=%zz HTTP/1.1"
    assert _without_framing(one) == expected
    assert one.body == body
    lengths = one.values(b"content-length")
    assert one.values(b"transfer-encoding") == []
    assert lengths == ([b"%d" % len(body)] if lengths else [])
    assert bool(lengths) >= (bool(body) or method in {b"POST", b"PUT", b"PATCH"})


@given(st.sampled_from([b"GET", b"POST", b"CONNECT", b"TRACE", b"OPTIONS"]), targets, hosts, fields)
def test_nothing_that_a_caller_sends_changes_where_it_goes(
    stage: Stage, method: bytes, target: bytes, host: bytes, given: Headers
) -> None:
    """`Stage.send` sees every connection that is opened and every Host that is sent."""
    outcome = stage.send(_request(method + b" " + target, ((b"Host", host), *given)))
    if method in {b"CONNECT", b"TRACE"} or b"evil.example" in host:
        assert outcome.forwarded == ()
    if method in {b"CONNECT", b"TRACE"} and not set(target) & set(b" \t\r\n\x00") and target:
        assert outcome.answered.statuses == [405]


@given(st.sampled_from(GOOD), edits)
def test_of_what_is_nearly_a_request_only_what_a_strict_reader_finds_is_sent(
    stage: Stage, raw: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    for place, cut, scrap in edits:
        raw = raw[:place] + scrap + raw[place + cut :]
    rest = raw
    for sent in stage.send(raw).forwarded:
        read, rest = read_request(rest.lstrip(b"\r\n"))
        assert (sent.method, sent.target, sent.body) == (read.method, read.target, read.body)


def _request(line: bytes, headers: Headers, body: bytes = b"") -> bytes:
    return b"\r\n".join((line + b" HTTP/1.1", *(name + b": " + value for name, value in headers), b"", body))


def _without_framing(message: Message) -> list[tuple[bytes, bytes]]:
    return [field for field in message.fields if field[0].lower() not in {b"host", b"content-length"}]
