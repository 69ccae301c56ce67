"""Bytes in order and at the pace of whoever is slower: a caller's connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import cast

HIGH_WATER = 64 * 1024
_ARRIVING = memoryview(bytearray(128 * 1024))
"""Where what arrives is put first, for all connections: it is taken before anything else can arrive."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Lost(ConnectionError):
    """The peer closed or reset the connection."""


class Inflow:
    """The body of one message as it arrives. Reading from the network pauses while nobody takes it."""

    __slots__ = ("_error", "_pieces", "_reader", "_size", "_transport", "ended", "paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._size = 0
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self.ended = False
        self.paused = False

    @property
    def size(self) -> int:
        """Bytes that have arrived and were not taken yet."""
        return self._size

    @property
    def failed(self) -> bool:
        """Whether the body was cut or broken."""
        return self._error is not None

    def put(self, piece: bytes) -> None:
        """Add bytes that arrived."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > HIGH_WATER and not self.paused:
            self.paused = True
            self._transport.pause_reading()
        self._wake()

    def end(self) -> None:
        """Note that the body is complete."""
        self.ended = True
        self._resume()
        self._wake()

    def fail(self, error: Exception) -> None:
        """Note that the rest of the body will not come; readers get `error` after what did arrive."""
        if self.ended or self._error is not None:
            return
        self._error = error
        self._resume()
        self._wake()

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end. Raises what `fail` was given."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self.take()

    def take(self) -> bytes:
        """Return whatever has arrived, without waiting."""
        pieces, self._pieces = self._pieces, []
        self._size = 0
        self._resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _resume(self) -> None:
        if self.paused:
            self.paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Connection(asyncio.BufferedProtocol):
    """What arrives, the writing half of a connection, and the ways to end it.

    A plain protocol costs a new buffer of 256 KiB for each read, however little arrives, and where
    many bodies arrive at once so much at a time adds up.
    """

    __slots__ = ("_drained", "_full", "_loop", "deadline", "lost", "transport")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadline = float("inf")
        self.lost = False
        self._full = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the peer reads more slowly than we write."""
        return self._full

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Wake whoever waits to write."""
        self.lost = True
        self.wake_writer()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Lend room for what arrives."""
        return _ARRIVING

    def buffer_updated(self, nbytes: int) -> None:
        """Take what arrived."""
        self.data_received(_ARRIVING[:nbytes].tobytes())

    def data_received(self, data: bytes) -> None:
        """Act on what arrived."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        """Note that the peer reads more slowly than we write."""
        self._full = True

    def resume_writing(self) -> None:
        """Note that there is room again."""
        self._full = False
        self.wake_writer()

    def wake_writer(self) -> None:
        """Let `drain` return."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Wait until there is room to write, or `wake_writer` was called. Raises `Lost`."""
        if self._full and not self.lost:
            self._drained = self._loop.create_future()
            await self._drained
        if self.lost:
            raise Lost

    def close(self) -> None:
        """Take what is to be written to the peer, and end. Only once: Python 3.11.2 (Debian 12's) cannot cut
        a connection over TLS any more that is closed again.
        """
        if not self.transport.is_closing():
            self.transport.close()

    def reset(self) -> None:
        """Close at once with a TCP reset, so that the peer cannot take what it has for a whole message."""
        endpoint = self.transport.get_extra_info("socket")
        if endpoint is not None and not self.lost:
            with contextlib.suppress(OSError):  # the peer was faster
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()
