"""What asyncio takes before a proxy has done anything: bytes are passed on as they come, a task for each
request, and of HTTP only the end of an answer is looked for.

`python -m tests.bench.peers.forwarder PORT UPSTREAM`
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

from tests.bench.peers.requests import content_length

END_OF_HEAD = b"\r\n\r\n"


class Side(asyncio.Protocol):
    """One connection; the other side is held back where this one cannot keep up."""

    def __init__(self) -> None:
        self.other: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """Let the other side wait."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let it go on."""
        if self.other is not None:
            self.other.transport.resume_reading()


class Onward(Side):
    """A connection to the upstream, which serves one request after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.answered: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Pass a piece of the answer on."""
        if self.other is None or self.answered is None:
            self.transport.abort()
            return
        if not self.left:
            head, end, _ = data.partition(END_OF_HEAD)
            self.left = len(head) + len(end) + content_length(head)
        self.left -= len(data)
        self.other.transport.write(data)
        if not self.left:
            self.answered.set_result(None)


class Inward(Side):
    """A caller's connection."""

    def __init__(self, forwarder: Forwarder) -> None:
        super().__init__()
        self._forwarder = forwarder
        self._task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Begin a request, or pass a piece of its body on."""
        if self.other is not None:
            self.other.transport.write(data)
        else:
            self.transport.pause_reading()
            self._task = asyncio.ensure_future(self._forward(data))

    async def _forward(self, data: bytes) -> None:
        onward = self.other = await self._forwarder.connection()
        onward.other, onward.answered = self, asyncio.get_running_loop().create_future()
        self.transport.resume_reading()
        onward.transport.write(data)
        await onward.answered
        self.other = onward.other = None
        self._forwarder.idle.append(onward)


class Forwarder:
    """The connections to one upstream."""

    def __init__(self, upstream: str) -> None:
        scheme, _, authority = upstream.partition("://")
        self._host, _, port = authority.rpartition(":")
        self._port = int(port)
        self._tls = ssl.create_default_context() if scheme == "https" else None
        self.idle: list[Onward] = []

    async def connection(self) -> Onward:
        """One that is idle, or a new one."""
        if self.idle:
            return self.idle.pop()
        loop = asyncio.get_running_loop()
        _, onward = await loop.create_connection(Onward, self._host, self._port, ssl=self._tls)
        return onward


async def main() -> None:
    """Serve until stopped."""
    forwarder = Forwarder(sys.argv[2])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Inward(forwarder), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
