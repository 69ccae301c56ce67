"""One request of a caller's, and the way to answer it.

The answer is framed here and never copied: Content-Length where the length is known, else chunked, else (for
HTTP/1.0) the end of the connection. A body that was cut upstream ends in a reset, never in a clean end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxy.body import Body, BodyProblem, BodyStore, Late, Stalled
from proxy.core.framing import Chunked, Counted, Framing
from proxy.core.heads import response_head
from proxy.core.model import Headers
from proxy.core.strict import Accepted, RequestHead
from proxy.flow import Inflow, Lost
from proxy.response import Truncated

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTENT, NOT_MODIFIED = 204, 304


class Line(Protocol):
    """What an answer needs of the caller's connection (`proxy.caller`, which imports this file)."""

    transport: asyncio.Transport

    @property
    def draining(self) -> bool:
        """Whether answers end their connection."""

    def await_body(self) -> None:
        """Expect the next piece of the body in time."""

    def no_deadline(self) -> None:
        """Expect nothing from the caller."""

    async def drain_in_time(self) -> None:
        """Wait until there is room to write."""


class Rest(Protocol):
    """What follows of a body: a `Response` of Xero's, or the events of the admin port."""

    @property
    def length(self) -> int | None:
        """Bytes of the whole body, where that is known."""

    async def read(self) -> bytes | memoryview:
        """Return the next bytes, empty at the end. Raises `Truncated` where there should be more."""

    def close(self) -> None:
        """Let go of what was not read."""


class Call:
    """A caller's request. `target` is in origin-form; `gone` says whether the caller has left.

    `declared_length` is None for a chunked body and for none; `on_gone` is called once if the caller leaves
    before the answer is written. `begun` is True while an answer lacks its end: one that stays so is cut off
    with a reset.
    """

    __slots__ = (
        "_caller",
        "answered",
        "begun",
        "declared_length",
        "expects_continue",
        "fields",
        "framing",
        "gone",
        "has_body",
        "http10",
        "inflow",
        "keep_alive",
        "method",
        "on_gone",
        "target",
    )

    def __init__(self, caller: Line, head: RequestHead, request: Accepted) -> None:
        self._caller = caller
        self.method = head.method
        self.target = request.target
        self.fields = head.fields
        self.http10 = head.http10
        self.keep_alive = head.keep_alive and not head.upgrade
        self.expects_continue = request.expects_continue
        self.declared_length = request.length
        self.framing: Framing | None = None
        if request.chunked:
            self.framing = Chunked()
        elif request.length:
            self.framing = Counted(request.length)
        self.has_body = self.framing is not None
        self.inflow = Inflow(caller.transport) if self.has_body else None
        self.gone = False
        self.on_gone: Callable[[], object] | None = None
        self.answered = False
        self.begun = False

    @property
    def body_ended(self) -> bool:
        """Whether nothing more of this request can come."""
        return self.inflow is None or self.inflow.ended

    def stall(self) -> None:
        """Note that the rest of the body does not come in time."""
        if self.inflow is not None and not self.inflow.ended:
            self.inflow.fail(Stalled())

    def late(self) -> None:
        """Note that the deadline has come before the rest of the body."""
        if self.inflow is not None and not self.inflow.ended:
            self.inflow.fail(Late())

    def leave(self) -> None:
        """Note that the caller has gone."""
        if self.gone:
            return
        self.gone = True
        if self.inflow is not None:
            self.inflow.fail(Lost())
        tell, self.on_gone = self.on_gone, None
        if tell is not None:
            tell()

    async def keep_body(self, store: BodyStore) -> Body | BodyProblem | None:
        """Read the body whole, after `100 Continue` where the caller waits for that.

        None where there is no body.
        """
        if self.inflow is None:
            return None
        too_long = self.declared_length is not None and self.declared_length > store.max_bytes
        if self.expects_continue and not (too_long or self.inflow.size or self.inflow.ended):
            self._caller.transport.write(CONTINUE)
        self._caller.await_body()
        try:
            return await store.keep(self.inflow, self.declared_length)
        finally:
            self._caller.no_deadline()

    async def respond(
        self,
        status: int,
        reason: bytes,
        headers: Headers,
        body: bytes = b"",
        rest: Rest | None = None,
        *,
        declared: int | None = None,
    ) -> int:
        """Answer with `body` and then what `rest` still has; return the bytes of body written.

        `declared` is the length to announce where there is no body (HEAD, 304).
        """
        self.answered = True
        if self.gone:
            if rest is not None:
                rest.close()
            return 0
        if not self.body_ended or self._caller.draining:
            self.keep_alive = False
        if self.method == "HEAD" or status in (NO_CONTENT, NOT_MODIFIED):
            if rest is not None:
                rest.close()
            if declared is None and self.method == "HEAD" and body:
                declared = len(body)
            length = None if status == NO_CONTENT else declared
            self._caller.transport.write(self._head(status, reason, headers, length, chunked=False))
            return 0
        if rest is None:
            head = self._head(status, reason, headers, len(body), chunked=False)
            self._caller.transport.write(head + body)
            return len(body)
        return await self._stream(status, reason, headers, body, rest)

    async def _stream(self, status: int, reason: bytes, headers: Headers, body: bytes, rest: Rest) -> int:
        caller = self._caller
        chunked = rest.length is None and not self.http10
        if rest.length is None and self.http10:
            self.keep_alive = False
        caller.transport.write(self._head(status, reason, headers, rest.length, chunked=chunked))
        written = 0
        piece: bytes | memoryview = body
        self.begun = True
        try:
            while True:
                if piece:
                    # Not writelines: before 3.12.9 and 3.13.2 it writes without ever asking for a pause.
                    caller.transport.write(
                        b"".join((b"%x\r\n" % len(piece), piece, b"\r\n")) if chunked else piece
                    )
                    written += len(piece)
                piece = b""  # or it stays until the next one has come
                await caller.drain_in_time()
                piece = await rest.read()
                if not piece or self.gone:
                    break
        except (Lost, Truncated):
            return written
        finally:
            rest.close()
        if chunked and not self.gone:
            caller.transport.write(b"0\r\n\r\n")
        self.begun = False
        return written

    def _head(
        self, status: int, reason: bytes, headers: Headers, length: int | None, *, chunked: bool
    ) -> bytes:
        framing = b""
        if length is not None:
            framing = b"Content-Length: %d\r\n" % length
        elif chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        if not self.keep_alive:
            framing += b"Connection: close\r\n"
        elif self.http10:
            framing += b"Connection: keep-alive\r\n"
        return response_head(status, reason, headers, framing + b"\r\n")
