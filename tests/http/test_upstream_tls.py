"""TLS to Xero: what is made of the other side's records, however they arrive and end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from config.values import Origin
from proxy.clock import Clock
from proxy.core.model import Failure
from proxy.http.body import Body
from proxy.http.response import Response
from proxy.http.upstream import Upstream
from tests.certificates import LOCALHOST, server_tls
from tests.sockets import bad, get, good, kept, read_request, serving, upstream, whole_of

LARGE = bytes(range(256)) * 12_000


@dataclass
class Peer:
    """The other side's TLS by hand: each record can be had before it is sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    incoming: ssl.MemoryBIO = field(default_factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = field(default_factory=ssl.MemoryBIO)

    async def begin(self) -> None:
        """Shake hands, and take a request."""
        self.tls = server_tls().wrap_bio(self.incoming, self.outgoing, server_side=True)
        await self._do(self.tls.do_handshake)
        await self._do(lambda: self.tls.read(65536))

    async def _do(self, step: Callable[[], object]) -> None:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                step()
                self.writer.write(self.outgoing.read())
                return
            self.writer.write(self.outgoing.read())
            received = await self.reader.read(65536)
            if not received:
                raise ConnectionResetError
            self.incoming.write(received)

    def records(self, *texts: bytes) -> bytes:
        """As many records as texts, enciphered."""
        for text in texts:
            self.tls.write(text)
        return self.outgoing.read()

    def farewell(self) -> bytes:
        """What says that nothing more will come."""
        with contextlib.suppress(ssl.SSLError):  # it would hear the same from the other side at once
            self.tls.unwrap()
        return self.outgoing.read()


Act = Callable[[Peer], Coroutine[None, None, None]]


@contextlib.asynccontextmanager
async def acting(act: Act, **settings: Any) -> AsyncIterator[Upstream]:
    """The upstream side in front of a peer that takes one request and then does as it is told."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        await peer.begin()
        await act(peer)

    async with serving(converse) as address, trusting(address, **settings) as up:
        yield up


@contextlib.asynccontextmanager
async def trusting(address: Origin, **settings: Any) -> AsyncIterator[Upstream]:
    tls = ssl.create_default_context(cafile=LOCALHOST)
    async with upstream(Origin("https", "localhost", address.port), tls=tls, **settings) as up:
        yield up


async def test_records_that_arrive_byte_by_byte_are_put_together_and_leave_a_good_connection() -> None:
    connections: list[Peer] = []

    async def act(peer: Peer) -> None:
        connections.append(peer)
        for _ in range(2):
            records = peer.records(b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n\r\nhe", b"llo")
            for place in range(len(records)):
                peer.writer.write(records[place : place + 1])
                await Clock().sleep_until(0)
            await peer.reader.read(65536)

    async with acting(act) as up:
        assert [(await good(up)).first for _ in range(2)] == [b"hello", b"hello"]
    assert len(connections) == 1


async def test_many_records_that_arrive_at_once_are_all_taken() -> None:
    async def act(peer: Peer) -> None:
        texts = (b"%d," % number for number in range(1000))
        peer.writer.write(peer.records(b"HTTP/1.1 200 OK\r\nContent-Length: 3890\r\n\r\n", *texts))
        await peer.reader.read()

    async with acting(act) as up:
        assert (await good(up)).first.split(b",")[-2:] == [b"999", b""]


@pytest.mark.parametrize("ending", [Peer.farewell, lambda _peer: b""])
@pytest.mark.parametrize("status", [200, 201, 302])
async def test_an_answer_that_does_not_say_where_it_ends_is_not_taken_for_whole(
    status: int, ending: Callable[[Peer], bytes]
) -> None:
    """Anybody on the way can end a TCP connection."""

    async def act(peer: Peer) -> None:
        peer.writer.write(peer.records(b"HTTP/1.1 %d X\r\n\r\nwhole?" % status) + ending(peer))

    async with acting(act) as up:
        failure = await bad(up)
    assert (failure.name, failure.sent) == ("upstream_truncated", True)


async def test_an_error_page_that_does_not_say_where_it_ends_is_passed_on() -> None:
    """Nothing rests on its end."""

    async def act(peer: Peer) -> None:
        peer.writer.write(peer.records(b"HTTP/1.1 503 X\r\n\r\nThe Organisation is offline"))
        peer.writer.write(peer.farewell())

    async with acting(act) as up:
        assert (await good(up)).first == b"The Organisation is offline"


async def test_a_large_body_comes_whole_at_the_pace_of_its_reader() -> None:
    async def act(peer: Peer) -> None:
        peer.writer.write(peer.records(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE)))
        for start in range(0, len(LARGE), 50_000):
            peer.writer.write(peer.records(LARGE[start : start + 50_000]))
            await peer.writer.drain()
        await peer.reader.read()

    async with acting(act) as up:
        assert await whole_of(await good(up)) == LARGE


async def test_a_large_body_goes_out_whole() -> None:
    taken: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with serving(converse, tls=server_tls()) as address, trusting(address) as up:
        await good(up, get(method="POST", body=await kept(LARGE, memory=len(LARGE))))
    assert taken[0].endswith(b"\r\n\r\n" + LARGE)


class Endless:
    """A body larger than all room on the way."""

    size = 100_000_000
    in_memory = None

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        for _ in range(self.size // 100_000):
            yield bytes(100_000)
            self.begun.set()


@contextlib.asynccontextmanager
async def uploading(end: Callable[[Peer], object]) -> AsyncIterator[asyncio.Task[Response | Failure]]:
    """An upload to a peer that takes no more of it, comes to its `end` and keeps the TCP connection."""
    stuck = asyncio.Event()

    async def act(peer: Peer) -> None:
        await stuck.wait()
        end(peer)
        await given_up.wait()

    given_up = asyncio.Event()
    body = Endless()
    async with acting(act, timeout=1.0) as up:
        sending = asyncio.create_task(up.send(get(method="POST", body=cast("Body", body))))
        await body.begun.wait()
        stuck.set()
        yield sending
        given_up.set()


@pytest.mark.parametrize("says_so", [True, False])
async def test_a_peer_that_ends_and_takes_no_more_is_waited_for_no_longer_than_for_an_answer(
    *, says_so: bool
) -> None:
    def leave(peer: Peer) -> None:
        if says_so:
            peer.writer.write(peer.farewell())
        else:
            peer.writer.write_eof()

    async with uploading(leave) as sending:
        failure = await sending
    assert isinstance(failure, Failure)
    noticed = sys.version_info >= (3, 12)  # by asyncio's TLS
    assert (failure.name, failure.sent) == ("upstream_reset" if noticed else "upstream_timeout", True)


async def test_a_handshake_that_never_ends_is_given_up_with_its_connection() -> None:
    ended = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - it says nothing
        await reader.read()
        ended.set()

    async with serving(converse) as address, trusting(address, connect_timeout=0.05) as up:
        failure = await bad(up)
        await ended.wait()
    assert (failure.name, failure.error, failure.sent) == ("connect_failed", "connection_timeout", False)
