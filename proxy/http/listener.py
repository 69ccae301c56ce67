"""Accepts callers while there are file descriptors for them.

A descriptor that a caller takes is one that the connection to Xero, a body on disk or the admin port cannot
have, so a share of them is kept for those. Who comes when the rest is used up waits unaccepted in the
kernel's queue, at no cost, until somebody leaves. The event loop's own server would go on until nothing can
be opened any more, and then log a thousand errors a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from proxy.clock import Clock, Timer

BACKLOG = 1024
SOCKET_MODE = 0o660
RESERVE = 200
"""Descriptors kept for everything but callers, where there are many."""
BURST = 64
"""Connections accepted in one turn of the event loop."""
HANDSHAKE_SECONDS = 10.0
GOODBYE_SECONDS = 2.0
"""For a peer's own end of TLS, after ours."""
PAUSE = 0.05
"""Seconds until it is tried again where there was no room."""


def raise_limit() -> None:
    """Let the process open as many files as it may: the lower, soft limit is meant for programs of old."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS names a hard limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def room_for_callers() -> int:
    """How many callers may be connected under the limit of this process on open files.

    Where it is low a third of it: each caller can need a connection to Xero and a file besides its own.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else max(soft // 3, soft - RESERVE)


class Listener:
    """Listening sockets whose connections go to protocols that `factory` makes, while fewer than `room` of
    them are open by `count`. With `tls`, which may be changed at any time, who is accepted then shakes hands.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        count: Callable[[], int],
        clock: Clock,
        room: int | None = None,
    ) -> None:
        self._factory = factory
        self._count = count
        self._clock = clock
        self._room = room_for_callers() if room is None else room
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._coming: set[asyncio.Task[object]] = set()
        self._timer: Timer | None = None
        self.tls: ssl.SSLContext | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port. `::` is every address of both families; a host that begins with a slash is
        the path of a socket, whose port is 0. Raises OSError naming the address that cannot be had.
        """
        if host.startswith("/"):
            self._sockets.append(_socket_at(host))
            self._listen()
            return 0
        # An address is not asked for by what this machine has: a container may have no other of IPv6.
        flags = socket.AI_PASSIVE | (0 if ":" in host else socket.AI_ADDRCONFIG)
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        both = host == "::" and socket.has_dualstack_ipv6()
        try:
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                listening = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
                listening.setblocking(False)
                # For all that it accepts: else the end of a body can wait for the caller's delayed
                # acknowledgement. The event loop does it only where a socket was given its protocol's number.
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(listening)
        except OSError:
            self.close()
            raise
        self._listen()
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accept nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            path = listening.getsockname() if listening.family == socket.AF_UNIX else ""
            listening.close()
            if path and _abandoned(path):  # else another process has put its own there
                Path(path).unlink()
        self._sockets.clear()

    def _listen(self) -> None:
        self._timer = None
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BURST):
            if self._count() + len(self._coming) >= self._room:
                self._pause()
                return
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor or no memory: what frees one is not told to anybody
                self._pause()
                return
            connection.setblocking(False)
            coming = self._loop.create_task(self._accepted(connection))
            self._coming.add(coming)
            coming.add_done_callback(self._came)

    async def _accepted(self, connection: socket.socket) -> object:
        if self.tls is None:
            return await self._loop.connect_accepted_socket(self._factory, connection)
        return await self._loop.connect_accepted_socket(
            self._factory,
            connection,
            ssl=self.tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=GOODBYE_SECONDS,
        )

    def _came(self, coming: asyncio.Task[object]) -> None:
        self._coming.discard(coming)
        if not coming.cancelled():
            coming.exception()  # the caller was gone before it was there

    def _pause(self) -> None:
        for listening in self._sockets:
            self._loop.remove_reader(listening)
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now() + PAUSE, self._listen)


def _socket_at(path: str) -> socket.socket:
    """A socket that listens at a path, for its owner and group. One that nobody listens at any more is in
    nobody's way; raises OSError where somebody does, or where something else is there.
    """
    listening = socket.socket(socket.AF_UNIX)
    try:
        try:
            listening.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _abandoned(path):
                raise
            Path(path).unlink()
            listening.bind(path)
        Path(path).chmod(SOCKET_MODE)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _abandoned(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)  # one whose queue is full would keep us waiting
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            return Path(path).is_socket()
        except OSError:
            return False
    return False
