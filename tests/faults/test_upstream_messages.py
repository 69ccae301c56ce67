"""Upstream: answers that are no HTTP, or say odd things"""

from __future__ import annotations

import gzip
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from proxy.clock import Clock
from tests.e2e.harness import put, request, sidecar
from tests.faults.meeting import GARBAGE, is_well, logged, meets
from tests.faults.origin import Act, misbehaving
from tests.sockets import OK

pytestmark = pytest.mark.looptime
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
UNREADABLE = [b"", b"-5", b"soon", b"1e9", b"1000000000", b"Thu, 32 Foo 2026 00:00:00 GMT"]


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n", b"3\r\nabcX\r\n", b"-1\r\n", b"f" * 40 + b"\r\n"])
async def test_bad_chunk(chunks: bytes) -> None:
    """502 `upstream_garbage`, in the segment of the head or later; repeated by the rules of a reset."""
    await meets(Act(CHUNKED + chunks), GARBAGE)


@pytest.mark.parametrize(
    "sends",
    [
        b"\x15\x03\x01",
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000,
    ],
)
async def test_garbage(sends: bytes) -> None:
    """502 `upstream_garbage`, with the rules of a reset; nothing of it reaches the caller."""
    await meets(Act(sends), GARBAGE)


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"Content-Length: 1, 2\r\n\r\nab",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_two_lengths(fields: bytes) -> None:
    """502 `upstream_garbage`: no length is chosen, and the connection is closed."""
    await meets(Act(b"HTTP/1.1 200 OK\r\n" + fields), GARBAGE)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (b"101", "101"),
        (b"099", "99"),
        (b"999", "999"),
        (b"600", "600"),
        (b"000", ""),
        (b"20", ""),
        (b"2000", ""),
    ],
)
async def test_status_that_cannot_be_an_answer(status: bytes, said: str) -> None:
    """101, 099, 999 and their like: 502 `upstream_garbage`, never passed on."""
    upgrade = b"Connection: upgrade\r\nUpgrade: x\r\n" if status == b"101" else b""
    await meets(Act(b"HTTP/1.1 %b Odd\r\n%b" % (status, upgrade + EMPTY)), replace(GARBAGE, detail=said))


async def test_more_bytes_than_the_length_says() -> None:
    """The caller gets what the length says; the rest reaches nobody, as its connection is closed."""
    secret = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"
    async with misbehaving(Act(OK + secret)) as ledger, sidecar(str(ledger.address)) as proxy:
        assert (await proxy.ask(put())).body == b"ok"
        assert (await proxy.ask(put())).body == b"ok"
        assert (len(ledger.writers), ledger.executed()) == (2, 2)
        await is_well(proxy)


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_gzip_bomb(status: int) -> None:
    """Passed on as it came, whatever the status; only the 4 KiB that are searched for words are inflated."""
    inflated = 200_000_000
    bomb = gzip.compress(bytes(inflated // 10)) * 10
    head = b"HTTP/1.1 %d X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (status, len(bomb))
    async with (
        misbehaving(Act(head + bomb)) as ledger,
        sidecar(str(ledger.address), retry_attempts=1) as proxy,
    ):
        tracemalloc.start()
        try:
            reply = await proxy.ask(request())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (reply.status, reply.body == bomb) == (status, True)
        assert reply.field(b"content-encoding") == b"gzip"
        assert peak < 20 * len(bomb) < inflated / 20
        await is_well(proxy, spent=1)


@pytest.mark.parametrize("value", UNREADABLE)
async def test_retry_after_that_cannot_be_read(value: bytes) -> None:
    """Empty, negative, a word, 1e9, more than a week, a broken date: no reason to hurry. The organisation is
    left alone for a minute, then the request is executed once; where it was the last attempt the caller gets
    the answer without the header.
    """
    busy = Act(b"HTTP/1.1 429 Busy\r\nRetry-After: %b\r\n%b" % (value, EMPTY), executes=False)
    async with misbehaving(busy) as ledger, sidecar(str(ledger.address), max_wait_seconds=20) as proxy:
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_, reply.wait) == (429, "limit_unnamed", None)
        (hold,) = (await proxy.status())["holds"]
        assert hold["seconds"] == pytest.approx(60.4, abs=0.1)
        await proxy.passes(61.0)
        await is_well(proxy, spent=0)
    logged(proxy, "limit_unnamed", 1)
    async with misbehaving(busy) as ledger, sidecar(str(ledger.address)) as proxy:
        began = proxy.clock.now()
        reply = await proxy.ask(put())
        assert (reply.status, reply.attempts, ledger.executed("PUT")) == (200, 2, 1)
        assert 60 <= proxy.clock.now() - began < 62


async def test_retry_after_as_a_date() -> None:
    """Obeyed like the seconds that are left until then; a date that has passed is no wait at all."""
    now = datetime.fromtimestamp(Clock().wall(), UTC)
    for seconds, least, most in ((30, 28, 31), (-30, 0, 1)):
        date = format_datetime(now + timedelta(seconds=seconds), usegmt=True).encode()
        busy = b"HTTP/1.1 429 Busy\r\nRetry-After: %b\r\n%b" % (date, EMPTY)
        async with misbehaving(Act(busy, executes=False)) as ledger, sidecar(str(ledger.address)) as proxy:
            began = proxy.clock.now()
            assert (await proxy.ask(put())).status == 200
            assert least <= proxy.clock.now() - began <= most
            assert (len(ledger.requests), ledger.executed()) == (2, 1)


TWO = pytest.mark.parametrize("values", [(b"2", b"7"), (b"7", b"2"), (b"7", b"soon")])


def twice(values: tuple[bytes, bytes]) -> Act:
    fields = b"".join(b"Retry-After: %b\r\n" % value for value in values)
    return Act(b"HTTP/1.1 429 Busy\r\n" + fields + EMPTY, executes=False)


@TWO
async def test_two_retry_afters(values: tuple[bytes, bytes]) -> None:
    """The longest that can be read counts, for everybody of that organisation."""
    async with misbehaving(twice(values)) as ledger, sidecar(str(ledger.address)) as proxy:
        began = proxy.clock.now()
        assert (await proxy.ask(put())).status == 200
        assert 7 <= proxy.clock.now() - began < 9
        assert (len(ledger.requests), ledger.executed()) == (2, 1)


@TWO
async def test_two_retry_afters_for_the_caller(values: tuple[bytes, bytes]) -> None:
    """One number reaches the caller, the longest: two of them break SDKs."""
    async with (
        misbehaving(twice(values)) as ledger,
        sidecar(str(ledger.address), max_wait_seconds=5) as proxy,
    ):
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_) == (429, "limit_unnamed")
        given = [value for name, value in reply.headers if name.lower() == b"retry-after"]
        assert given == [b"7"]


async def test_retry_after_on_a_write_of_unknown_outcome() -> None:
    """Dropped: SDKs would send the write again."""
    gone = b"HTTP/1.1 502 Gone\r\nRetry-After: 5\r\n" + EMPTY
    async with (
        misbehaving(Act(gone)) as ledger,
        sidecar(str(ledger.address), idempotency="false") as proxy,
    ):
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_, reply.wait) == (502, "bad_gateway", None)
        assert ledger.executed("PUT") == 1
        await is_well(proxy, spent=1)
