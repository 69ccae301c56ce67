"""Whom the listener lets in, and when."""

from __future__ import annotations

import asyncio
import resource
import socket

import pytest

from proxy.clock import Clock
from proxy.http.listener import Listener, raise_limit, room_for_callers


@pytest.mark.parametrize(("limit", "room"), [(64, 21), (256, 85), (1024, 824), (20_000, 19_800)])
def test_some_descriptors_are_kept_for_others(monkeypatch: pytest.MonkeyPatch, limit: int, room: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert room_for_callers() == room


async def test_who_finds_no_room_gets_in_when_somebody_leaves() -> None:
    inside: set[asyncio.Protocol] = set()
    came: asyncio.Queue[bytes] = asyncio.Queue()

    class Guest(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002 - asyncio's signature
            inside.add(self)

        def data_received(self, data: bytes) -> None:
            came.put_nowait(data)

        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
            inside.discard(self)

    listener = Listener(Guest, lambda: len(inside), Clock(), room=1)
    port = await listener.start("127.0.0.1", 0)
    _, first = await asyncio.open_connection("127.0.0.1", port)
    _, second = await asyncio.open_connection("127.0.0.1", port)
    second.write(b"second")
    first.write(b"first")
    assert await came.get() == b"first"
    assert len(inside) == 1
    first.close()
    assert await came.get() == b"second"
    second.close()
    listener.close()


async def test_nothing_that_is_written_waits_for_an_acknowledgement() -> None:
    made: asyncio.Queue[asyncio.BaseTransport] = asyncio.Queue()

    class Guest(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.put_nowait(transport)

    listener = Listener(Guest, lambda: 0, Clock())
    port = await listener.start("127.0.0.1", 0)
    _, caller = await asyncio.open_connection("127.0.0.1", port)
    connection = (await made.get()).get_extra_info("socket")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    caller.close()
    listener.close()


async def test_every_address_means_those_of_both_families() -> None:
    met: asyncio.Queue[asyncio.BaseTransport] = asyncio.Queue()

    class Guest(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            met.put_nowait(transport)

    listener = Listener(Guest, met.qsize, Clock())
    port = await listener.start("::", 0)
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            _, caller = await asyncio.open_connection(address, port, family=family)
        except OSError:  # this machine has no IPv6 but the sockets
            assert family is socket.AF_INET6
            continue
        await met.get()
        caller.close()
    listener.close()


async def test_an_address_that_cannot_be_had_is_named() -> None:
    one, other = (Listener(asyncio.Protocol, lambda: 0, Clock()) for _ in range(2))
    port = await one.start("127.0.0.1", 0)
    with pytest.raises(OSError, match=str(port)):
        await other.start("127.0.0.1", port)
    one.close()


@pytest.mark.parametrize(("limits", "raised"), [((1024, 4096), [(4096, 4096)]), ((4096, 4096), [])])
def test_as_many_descriptors_are_taken_as_are_allowed(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: list[tuple[int, int]]
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: seen.append(wanted))
    raise_limit()
    assert seen == raised
