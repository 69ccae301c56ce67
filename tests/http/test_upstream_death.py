"""Hosts that lose their power send neither FIN nor RST. No test can pull the plug, so ask the sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.sockets import OK, answering, get, good, kept

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux lets a program say this"
)


def sockets(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The connections that are made from now on."""
    made: list[socket.socket] = []
    connect = asyncio.get_running_loop().sock_connect

    async def noted(endpoint: socket.socket, address: tuple[str, int]) -> None:
        made.append(endpoint)
        await connect(endpoint, address)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", noted)
    return made


async def test_a_peer_that_vanishes_is_noticed_by_the_kernel_within_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = sockets(monkeypatch)
    async with answering(OK) as (up, _):
        await good(up)
        (connection,) = made
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


async def test_a_peer_that_reads_no_more_of_an_upload_has_the_whole_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not the minute after which the kernel takes it for dead; back in the pool it is as before."""
    unheard, made = list[int](), sockets(monkeypatch)

    def ask(_: bytes) -> bytes:
        (connection,) = made
        unheard.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        return OK

    body = await kept(b"x" * 100_000)
    async with answering(ask, timeout=330) as (up, seen):
        await good(up, get(method="PUT", body=body))
        await good(up)
    assert unheard == [330_000, 60_000]
    assert seen.connections == 1
