"""TLS between a TCP connection and the protocol that speaks HTTP over it.

asyncio's own keeps a buffer of 256 KiB for each connection, ends every read with an exception, and takes an
end of the TCP connection, which anybody on the way can make, for one that the peer meant.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import Any, cast

from proxy.http.flow import Connection

HEADER = 5
"""Bytes before each record; the last two of them say how many it has."""
READ = 64 * 1024
"""Bytes taken from the network at once; OpenSSL keeps room for as many for each connection that had them."""


class Tls(asyncio.BufferedProtocol, asyncio.Transport):
    """The protocol of a TCP connection, and the transport of `inner`: that one hears of its connection when
    the handshake is done, and from then on whatever was deciphered.

    The context must not let the peer negotiate anew (`ssl.OP_NO_RENEGOTIATION`), so that what is written can
    always go out.
    """

    __slots__ = (
        "_connected",
        "_end",
        "_header",
        "_incoming",
        "_inner",
        "_left",
        "_network",
        "_outgoing",
        "_ready",
        "_tls",
    )

    _network: asyncio.Transport

    def __init__(self, inner: Connection, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connected = False
        self._header, self._left = b"", 0
        self._end: Exception | None = ConnectionResetError("it ended without a word of TLS")

    async def ready(self) -> None:
        """Wait for the handshake. Raises OSError."""
        try:
            await self._ready
        except asyncio.CancelledError:
            self.abort()
            raise

    # --- the protocol of the TCP connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._network = cast("asyncio.Transport", transport)
        self._shake_hands()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for the handshake, or the inner protocol; None only where the peer said so."""
        if self._connected:
            if isinstance(exc, OSError):
                self._hear_out()
            self._inner.connection_lost(None if self._end is None else exc or self._end)
        elif not self._ready.done():
            self._fail(exc or ConnectionResetError("it ended in the handshake"))
        del self._inner  # or the two keep each other until the garbage collector comes by

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend what all connections share."""
        return self._inner.get_buffer(sizehint)[:READ]

    def buffer_updated(self, nbytes: int) -> None:
        """Go on with what arrived."""
        arrived = self._inner.get_buffer(nbytes)[:nbytes]
        self._incoming.write(arrived)
        self._inner.midway = self._is_cut(arrived)
        if self._connected:
            self._decipher()
        elif not self._ready.done():
            self._shake_hands()

    def eof_received(self) -> None:
        """End at once: a peer that says nothing more need not take what waits to be written."""
        self.abort()

    def pause_writing(self) -> None:
        """Note that the peer reads more slowly than we write."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Note that there is room again."""
        self._inner.resume_writing()

    # --- the transport of the inner protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encipher and send."""
        if self.is_closing():
            return
        try:
            written = self._tls.write(data)
            while written < len(data):
                written += self._tls.write(memoryview(data)[written:])
        except ssl.SSLError as error:
            self._break(error)
        else:
            self._flush()

    def pause_reading(self) -> None:
        """Take nothing more from the network; whatever had come is with the inner protocol already."""
        self._network.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._network.resume_reading()

    def is_closing(self) -> bool:
        """Whether nothing more goes out."""
        return self._network.is_closing()

    def close(self) -> None:
        """Tell the peer, and end; what the peer still says is not waited for."""
        if not self.is_closing():
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
            self._network.close()

    def abort(self) -> None:
        """End at once."""
        self._network.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the TCP connection knows."""
        return self._network.get_extra_info(name, default)

    # --- records

    def _is_cut(self, arrived: memoryview) -> bool:
        """Whether the last record lacks its end, which OpenSSL keeps to itself."""
        if self._header:
            arrived = memoryview(self._header + arrived)
        end, size = self._left, len(arrived)
        while end + HEADER <= size:
            end += HEADER + (arrived[end + 3] << 8 | arrived[end + 4])
        self._left = max(0, end - size)
        self._header = bytes(arrived[end:])
        return end != size

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert that tells the peer why
            self._fail(error)
            self._network.close()
        else:
            self._flush()
            self._connected = True
            self._ready.set_result(None)
            self._inner.connection_made(self)
            self._decipher()

    def _fail(self, error: Exception) -> None:
        self._ready.set_exception(error)
        self._ready.exception()  # whoever was to wait may have been cancelled before: nothing to report then

    def _decipher(self) -> None:
        """Hand over all that came: its plain text, with that of half a record before it, has room at once."""
        room, size = self._inner.get_buffer(-1), 0
        broken = None
        try:
            while self._incoming.pending:
                # Into a buffer it says how much, which its annotation does not know.
                deciphered = cast("int", self._tls.read(len(room) - size, room[size:]))
                if not deciphered:
                    self._end = None
                    break
                size += deciphered
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            broken = error
        if size:
            self._inner.buffer_updated(size)
        if broken is not None:
            self._break(broken)
        elif self._end is None:
            self.close()
            self.abort()  # where much waits to be written it has no reader any more
        elif self._outgoing.pending and not self.is_closing():
            self._flush()  # the peer wanted new keys

    def _hear_out(self) -> None:
        """Take what came before the reset that a write met: asyncio has not looked, and looks no more."""
        descriptor = self.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while size := os.readv(descriptor, [self.get_buffer(-1)]):
                self.buffer_updated(size)

    def _break(self, error: ssl.SSLError) -> None:
        self._end = error
        self.abort()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._network.write(data)
