"""An answer that comes before the request is whole, from a peer that resets the connection behind it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from config.values import Origin
from proxy.core.model import Failure
from proxy.http.body import Body
from proxy.http.response import Response
from tests.http.test_tls import UNTIL_CLOSE, server_tls, trusting
from tests.sockets import get, reset_on_close

TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"


class Interrupted:
    """A body between whose pieces something happens, without a turn of the loop that would notice it."""

    size = 20
    in_memory = None

    def __init__(self, event: Callable[[], object]) -> None:
        self._event = event

    async def pieces(self) -> AsyncIterator[bytes]:
        yield b"x" * 10
        self._event()
        yield b"x" * 10


async def answered_and_reset(answer: bytes, *, says_so: bool = False) -> Response | Failure:
    """What comes of a request that goes on when the answer and the reset are there already."""
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server_tls().wrap_bio(incoming, outgoing, server_side=True)

    def refuse() -> None:
        incoming.write(peer.recv(65536))
        tls.do_handshake()
        tls.write(answer)
        if says_so:
            with contextlib.suppress(ssl.SSLError):
                tls.unwrap()
        peer.send(outgoing.read())
        reset_on_close(peer)
        peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        async with trusting(Origin("https", "localhost", listening.getsockname()[1])) as up:
            body = cast("Body", Interrupted(refuse))
            sending = asyncio.create_task(up.send(get(method="POST", body=body)))
            peer, _ = await loop.sock_accept(listening)
            incoming.write(await loop.sock_recv(peer, 65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            await loop.sock_sendall(peer, outgoing.read())
            return await sending


async def test_it_is_read_before_the_connection_is_given_up() -> None:
    response = await answered_and_reset(TOO_LARGE)
    assert isinstance(response, Response), response
    assert (response.status, response.first) == (413, b"big")


@pytest.mark.parametrize("says_so", [True, False])
async def test_one_that_ends_with_the_connection_is_whole_only_where_the_peer_says_so(
    *, says_so: bool
) -> None:
    response = await answered_and_reset(UNTIL_CLOSE, says_so=says_so)
    if says_so:
        assert isinstance(response, Response), response
        assert response.first == b"whole?"
    else:
        assert isinstance(response, Failure)
        assert (response.name, response.sent) == ("upstream_truncated", True)
