"""One connection to Xero: a request goes out, at most one response comes back.

The connection is good for another request only if the whole request was sent, the whole response was
read, its framing leaves no doubt where that ends, nothing came after it and both sides want to keep it.
What arrives while nobody asked ends the connection, so that it is never taken for the next caller's answer. A
complete message is an answer, whatever comes behind it. 1xx responses are swallowed, and do not move the
deadline; a 101 was never asked for and is garbage.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from proxy.clock import Clock
from proxy.core.model import Failure
from proxy.core.wire.framing import BadFraming, Counted, Framing, UntilClose, has_no_body, response_framing
from proxy.core.wire.heads import (
    END_OF_HEAD,
    MAX_HEAD,
    Lines,
    ResponseHead,
    read_response,
    without_empty_lines,
)
from proxy.http.flow import HIGH_WATER, Connection, Inflow
from proxy.http.response import BEGINNING_BYTES, Heard, Response, Truncated
from proxy.http.spool import SpoolFile

LAST_STATUS = 599
FIRST_FINAL = 200
SWITCHING_PROTOCOLS = 101
INTERIM = 100

Result = Response | Failure


class Exchange(Connection):
    """A connection to one origin. `timeout` is in seconds; `idle` is told when it can carry another request,
    `gone` when it ends.
    """

    __slots__ = (
        "_buffer",
        "_clock",
        "_framing",
        "_gone",
        "_head",
        "_head_at",
        "_idle",
        "_inflow",
        "_length",
        "_lines",
        "_method",
        "_poll",
        "_result",
        "_sent",
        "_spool",
        "_timeout",
        "heard",
        "patient",
    )

    def __init__(
        self,
        clock: Clock,
        lines: Lines,
        *,
        timeout: float,
        spool: SpoolFile,
        idle: Callable[[Exchange], None],
        gone: Callable[[Exchange], None],
    ) -> None:
        super().__init__()
        self._clock = clock
        self._lines = lines
        self._timeout = timeout
        self._spool = spool
        self._idle = idle
        self._gone = gone
        self._poll = select.poll()
        self.patient = False
        """Whether the kernel was told to let the peer leave unread for `timeout` what was sent."""
        self._clear()

    def _clear(self) -> None:
        self._method = ""
        self._buffer = b""
        self._head: ResponseHead | None = None
        self._head_at = 0.0
        self._length: int | None = None
        self._framing: Framing | None = None
        self._inflow: Inflow | None = None
        self._result: asyncio.Future[Result] | None = None
        self._sent = False
        self.heard: Heard | None = None

    # --- asked by the pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare to ask the kernel whether bytes are waiting."""
        super().connection_made(transport)
        self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)

    def fit(self) -> bool:
        """Whether a request may go out: open, and nothing has arrived since the last response.

        The kernel is asked, because what arrived this instant has not reached `data_received` yet.
        """
        return not (self.lost or self.midway or self.transport.is_closing() or self._poll.poll(0))

    def begin(self, method: str) -> asyncio.Future[Result]:
        """Expect a response to `method`: its head and, unless it is large, its body within the timeout, and
        each further piece of a large one within as much again.
        """
        self._method = method
        self.deadline = self._clock.now() + self._timeout
        self._result = self._loop.create_future()
        return self._result

    @property
    def answered(self) -> bool:
        """Whether the response has begun, or the exchange failed: writing more is no use."""
        return self._head is not None or self.transport.is_closing()

    def sent(self) -> None:
        """Note that the request has been written whole."""
        self._sent = True

    def drop(self) -> None:
        """End the connection now; a body that would have ended with it is not whole."""
        if self._inflow is not None:
            self._inflow.fail(Truncated("The connection was given up."))
        self.transport.abort()

    def abandon(self) -> None:
        """Give the request up half sent: what was kept of its body cannot be read."""
        self._fail("upstream_reset", "proxy_internal_error", "The kept request body could not be read.")
        self.drop()

    # --- told by the transport

    def data_received(self, data: bytes) -> None:
        """Parse a response; bytes that nobody waits for end the connection."""
        if self._framing is not None:
            self._take_body(self._framing, data)
        elif self._result is None or self._result.done():
            self.drop()
        else:
            self._take_head(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle what is open: a body that ends with the connection is whole, all else is cut."""
        super().connection_lost(exc)
        if isinstance(self._framing, UntilClose) and exc is None and self._inflow and not self._inflow.failed:
            self._finish(b"")
        elif self._head is None and not self._buffer:
            self._fail(
                "upstream_reset", "connection_terminated", "Xero closed the connection without an answer."
            )
        else:
            self._fail(
                "upstream_truncated", "http_response_incomplete", "The connection broke inside the answer."
            )
        self._gone(self)

    def expire(self, now: float) -> None:
        """End an attempt or an idle connection whose time is up; a body that our side holds back has time."""
        if self._inflow is not None and self._inflow.paused:
            self.deadline = now + self._timeout
            return
        self._fail("upstream_timeout", "http_response_timeout", "No complete answer came in time.")
        self.drop()

    # --- the response

    def _take_head(self, data: bytes) -> None:
        data = without_empty_lines(self._buffer + data)
        self._buffer = b""
        while (end := data.find(END_OF_HEAD)) >= 0:
            head = read_response(data[: end + 4], self._lines)
            data = data[end + 4 :]
            if head is None:
                self._garbage("The head is not well-formed HTTP.")
                return
            if FIRST_FINAL <= head.status <= LAST_STATUS:
                self._begin_body(head, data)
                return
            if not INTERIM <= head.status < FIRST_FINAL or head.status == SWITCHING_PROTOCOLS:
                self._garbage(f"The status {head.status} cannot be an answer.")
                return
            data = without_empty_lines(data)
        self._buffer = data
        if len(data) > MAX_HEAD or not _may_begin_response(data):
            self._garbage("What came is not HTTP, or its head does not end.")

    def _begin_body(self, head: ResponseHead, rest: bytes) -> None:
        try:
            self._framing, self._length = response_framing(self._method, head.status, head.fields)
        except BadFraming as error:
            self._garbage(f"{error}.")
            return
        self._head = head
        self._head_at = self._clock.now()
        self.wake_writer()
        if isinstance(self._framing, Counted) and self._framing.left == len(rest):
            self._end(self._response(head, rest), reusable=self._lasts(head))
            return
        self._inflow = Inflow(self.transport)
        self._take_body(self._framing, rest)

    def _take_body(self, framing: Framing, data: bytes) -> None:
        inflow, head = self._inflow, self._head
        if inflow is None or head is None or inflow.failed:
            return
        try:
            piece, rest = framing.feed(data)
        except BadFraming as error:
            self._garbage(f"{error}.")
            return
        if piece:
            inflow.put(piece)
        if framing.done:
            self._finish(rest)
            return
        waited = self._result is not None and not self._result.done()
        if waited and inflow.size < HIGH_WATER and not self._is_enough(head, inflow):
            return  # until the caller has something of it, it is late like an answer that has not begun
        self.deadline = self._clock.now() + self._timeout
        if waited:
            self._settle(self._response(head, inflow.take(), inflow))

    def _is_enough(self, head: ResponseHead, inflow: Inflow) -> bool:
        if self.heard is None:
            return False
        enough = self.heard(head.status, head.fields, inflow.beginning(BEGINNING_BYTES), self._head_at)
        self.heard = self.heard if enough is None else None
        return enough is True

    def _finish(self, rest: bytes) -> None:
        inflow, head = self._inflow, self._head
        if inflow is None or head is None:
            return
        inflow.end()
        waited = self._result is not None and not self._result.done()
        reusable = not rest and self._lasts(head)
        self._end(self._response(head, inflow.take()) if waited else None, reusable=reusable)

    def _lasts(self, head: ResponseHead) -> bool:
        """Whether another request may go out after this response: not where the peer announced a body that
        there is none of (RFC 9112, 6.3), for it may come all the same.
        """
        announced = bool(self._length) or b"transfer-encoding" in head.fields
        doubtful = announced and has_no_body(self._method, head.status)
        return head.keep_alive and not doubtful and not isinstance(self._framing, UntilClose)

    def _end(self, response: Response | None, *, reusable: bool) -> None:
        """The whole response is here: free the connection, and hand over what nobody has yet."""
        result, reusable = self._result, reusable and self._sent and not self.lost
        self._clear()
        if reusable:
            self._idle(self)
        else:
            self.drop()
        if response is not None and result is not None and not result.done():
            result.set_result(response)

    def _response(self, head: ResponseHead, first: bytes, inflow: Inflow | None = None) -> Response:
        return Response(
            head.status,
            head.reason,
            head.fields,
            first,
            self._length,
            self._head_at,
            inflow,
            self.drop,
            self._spool,
        )

    def _settle(self, result: Result) -> None:
        if self._result is not None and not self._result.done():
            self._result.set_result(result)

    def _garbage(self, detail: str) -> None:
        self._fail("upstream_garbage", "http_protocol_error", detail)
        self.drop()

    def _fail(self, name: str, error: str, detail: str) -> None:
        self._settle(Failure(name, sent=True, error=error, detail=detail))
        if self._inflow is not None:
            self._inflow.fail(Truncated(detail))
        self.wake_writer()


def _may_begin_response(data: bytes) -> bool:
    begins = data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data[:7]) or data == b"\r"
    return begins and b"\n\n" not in data
