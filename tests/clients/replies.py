"""A server that gives one prepared answer to everything: the proxy's own, whatever brings it about."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from http import HTTPStatus

from proxy.core.answers.answers import Answer, written
from proxy.core.answers.marks import marks
from proxy.core.model import Headers
from tests.clients.driver import TENANT
from tests.reference import own_answers


def every_answer() -> Iterator[Answer]:
    """Each answer of the proxy's own, without `Retry-After`, as after `RETRY_AFTER_MAX_SECONDS`: xero-python
    would sleep on it.
    """
    for same in own_answers().values():
        for each in same:
            yield replace(each, retry_after=None)


class Replies:
    """`answer` goes to every call of an organisation's, which `calls` counts, and `token_answer` to those for
    a token; where it is None, and to those for connections, what they ask for is given.
    """

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.token_answer: Answer | None = None
        self.calls = 0
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def close(self) -> None:
        """Leave the clients, who keep their connections."""
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until it ends."""
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                _, _, length = head.partition("\r\ncontent-length:")
                await reader.readexactly(int(length.split("\r\n")[0] or 0) if length else 0)
                writer.write(self._reply(head.split()[1]))

    def _reply(self, target: str) -> bytes:
        if target.startswith("/connect/"):
            if self.token_answer:
                return _made(self.token_answer)
            return _message(
                200, _JSON, b'{"access_token": "new", "token_type": "Bearer", "expires_in": 1800}'
            )
        if target.startswith("/connections"):
            return _message(200, _JSON, json.dumps([{"tenantId": TENANT}]).encode())
        assert self.answer is not None
        self.calls += 1
        return _made(self.answer)


_JSON: Headers = ((b"Content-Type", b"application/json"),)


def _made(answer: Answer) -> bytes:
    own = marks(answer.name, 0, 0.0, 0.0, error=answer.error)
    headers, body = written(answer, "0123456789abcdef")
    return _message(answer.status, (*headers, *own), body)


def _message(status: int, headers: Headers, body: bytes) -> bytes:
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n".encode()
    return line + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body


@contextlib.asynccontextmanager
async def replies() -> AsyncIterator[Replies]:
    """Run the server."""
    served = Replies()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
        await served.close()
