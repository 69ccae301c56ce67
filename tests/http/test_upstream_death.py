"""Hosts that lose their power send neither FIN nor RST. No test can pull the plug, so ask the sockets."""

from __future__ import annotations

import socket

import pytest

from tests.sockets import OK, answering, get, good, kept

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux lets a program say this"
)


async def test_a_peer_that_vanishes_is_noticed_by_the_kernel_within_a_minute() -> None:
    async with answering(OK) as (up, _):
        await good(up)
        (exchange,) = up._open
        connection = exchange.transport.get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, probes, unheard = (
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
        )
    assert idle + interval * probes <= 60
    assert 0 < unheard <= 60_000


async def test_a_peer_that_reads_no_more_of_an_upload_has_the_whole_timeout() -> None:
    """Not the minute after which the kernel takes it for dead; back in the pool it is as before."""
    unheard: list[int] = []

    def ask(_: bytes) -> bytes:
        (exchange,) = up._open
        connection = exchange.transport.get_extra_info("socket")
        unheard.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        return OK

    body = await kept(b"x" * 100_000)
    async with answering(ask, timeout=330) as (up, seen):
        await good(up, get(method="PUT", body=body))
        await good(up)
    assert unheard == [330_000, 60_000]
    assert seen.connections == 1
