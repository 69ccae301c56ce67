"""A caller's connection: heads and bodies in, one `Call` at a time.

What a caller pipelines behind the request in hand waits unparsed. A caller that closes its side while it
waits counts as gone, as one that only shuts down its sending half does. Where so much is pipelined that no
more is read, the socket is asked now and then whether it is gone.
"""

from __future__ import annotations

import asyncio
import select

from proxy.call import Call
from proxy.core import heads
from proxy.core.framing import BadFraming
from proxy.core.strict import Problem, Refusal, RequestHead, check_request
from proxy.flow import Connection, Inflow
from proxy.reception import Reception

MAX_AHEAD = 64 * 1024
LINGER = 2.0
LOOK = 0.5
"""Seconds between two looks at whether a caller is still there from which nothing is read."""
NEVER = float("inf")
_LEFT = getattr(select, "POLLRDHUP", 0)
"""Where the system knows no such event, that a connection was reset is told all the same."""


class Caller(Connection):
    """A caller's connection."""

    __slots__ = ("_call", "_incoming", "_lingering", "_paused", "_reception", "_task", "_writing")

    def __init__(self, reception: Reception) -> None:
        super().__init__()
        self._reception = reception
        self._incoming = heads.Incoming()
        self._call: Call | None = None
        self._task: asyncio.Task[None] | None = None
        self._lingering = False
        self._paused = False
        self._writing = False

    @property
    def draining(self) -> bool:
        """Whether answers end their connection."""
        return self._reception.draining

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._reception.callers.add(self)
        self._reception.deadlines.watch(self)
        self._due(self._reception.idle_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works on the request that its caller has gone."""
        super().connection_lost(exc)
        self._reception.callers.discard(self)
        self._reception.deadlines.forget(self)
        self._incoming.clear()
        if self._call is not None:
            self._call.leave()
        if self._task is not None:
            self._reception.left.add(self._task)
            self._task.add_done_callback(self._reception.forget)
        self._reception.check_empty()

    def data_received(self, data: bytes) -> None:
        """Take a head, or a piece of the body in hand, or keep what is pipelined behind it."""
        call = self._call
        if self._lingering:
            return
        if call is not None and call.inflow is not None and not call.body_ended:
            self._take_body(call, call.inflow, data)
        elif call is not None or self.full:
            self._keep_ahead(data)
        else:
            first = not self._incoming.data
            self._incoming.data += data
            self._take_head(first=first)

    def resume_writing(self) -> None:
        """Go on with what is pipelined once the answer before it has left."""
        super().resume_writing()
        if self._call is None and self._writing:
            self._writing = False
            self._go_on()

    def expire(self, now: float) -> None:
        """Act on a caller that is too slow, by what it was to do."""
        self.deadline = NEVER
        call = self._call
        if self._writing:
            self.reset()
        elif self.transport.is_closing():
            self.transport.abort()
        elif self._paused:
            self.deadline = now + LOOK
            self._cut_if_gone()
        elif call is not None:
            if call.inflow is not None and call.inflow.paused:
                self.deadline = now + self._reception.body_timeout
            else:
                call.stall()
        elif self._incoming.data and not self._lingering:
            problem = Problem(Refusal.TIMEOUT, "The head of the request did not arrive in time.")
            self._refuse(problem, heads.bodiless(self._incoming.data))
        else:
            self._hang_up(wait=False)

    # --- a request comes in

    def _take_head(self, *, first: bool) -> None:
        """Read a head; `first` says that nothing of it was there before."""
        head = self._incoming.head()
        if head is None:
            begun = bool(self._incoming.data)
            if first and (begun or self.deadline == NEVER):  # so that empty lines do not prolong anything
                self._due(self._reception.head_timeout if begun else self._reception.idle_timeout)
            return
        self.deadline = NEVER
        if isinstance(head, Problem):
            self._refuse(head, heads.bodiless(self._incoming.data))
            return
        request = heads.read_request(head, self._reception.lines)
        if isinstance(request, Problem):
            self._refuse(request, heads.bodiless(head))
        else:
            self._accept(request)

    def _accept(self, head: RequestHead) -> None:
        request = check_request(head, self._reception.own)
        if isinstance(request, Problem):
            self._refuse(request, head.method)
            return
        call = Call(self, head, request)
        if not (call.has_body or call.keep_alive) and self._incoming.data.strip(b"\r\n"):
            problem = Problem(Refusal.MALFORMED, "Bytes follow a request that was to be the last.")
            self._refuse(problem, head.method)
            return
        self._call = call
        if call.has_body and self._incoming.data:
            self.data_received(self._incoming.take())
        else:
            self._keep_ahead(b"")
        self._task = asyncio.Task(self._run(call), loop=self._loop, name="request")

    def _take_body(self, call: Call, inflow: Inflow, data: bytes) -> None:
        framing = call.framing
        if framing is None or inflow.failed:
            return
        try:
            piece, rest = framing.feed(data)
            if rest.strip(b"\r\n") and not call.keep_alive:
                raise BadFraming("bytes follow a request that was to be the last")  # noqa: TRY301 - one way to fail
        except BadFraming as error:
            call.keep_alive = False
            inflow.fail(error)
            return
        if self.deadline != NEVER:
            self._due(self._reception.body_timeout)
        if piece:
            inflow.put(piece)
        if framing.done:
            inflow.end()
            if rest:
                self._keep_ahead(rest)

    def _keep_ahead(self, data: bytes) -> None:
        self._incoming.data += data
        if len(self._incoming.data) > MAX_AHEAD and not self._paused:
            self._paused = True
            self.transport.pause_reading()
            if self.deadline == NEVER:
                self.no_deadline()

    # --- the request is worked on

    async def _run(self, call: Call) -> None:
        try:
            await self._reception.handle(call)
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a bug must not reach the caller
            self._reception.crashed(error)
        if call.begun:
            self.reset()
        elif not (call.answered or call.gone):
            call.keep_alive = False
            status, headers, body = self._reception.refuse(Refusal.INTERNAL, "The proxy failed.", call.method)
            await call.respond(status, heads.reason_phrase(status), headers, body)
        self._end(call)

    def _end(self, call: Call) -> None:
        self._call = self._task = None
        if self.lost:
            return
        if not call.keep_alive:
            self._hang_up(wait=bool(self._incoming.data) or not call.body_ended)
        elif self.full:
            self._writing = True
            self._due(self._reception.write_timeout)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._incoming.data:
            self._loop.call_soon(self._next)
            return
        self._due(self._reception.idle_timeout)
        if self.draining:
            self.close_if_idle()

    def _next(self) -> None:
        if self._call is not None or self.lost or (self._paused and self._cut_if_gone()):
            return
        self._paused = False
        self.deadline = NEVER
        self.transport.resume_reading()
        self._take_head(first=True)

    def _cut_if_gone(self) -> bool:
        """End a connection that the caller has ended, though nothing is read from it that would say so."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _LEFT)
        gone = bool(poll.poll(0))
        if gone:
            self.transport.abort()
        return gone

    def _due(self, seconds: float) -> None:
        self.deadline = self._reception.clock.now() + seconds

    def await_body(self) -> None:
        """Expect the next piece of the body in time."""
        self._due(self._reception.body_timeout)

    def no_deadline(self) -> None:
        """Expect nothing from the caller but that it stays."""
        self.deadline = NEVER
        if self._paused:
            self._due(LOOK)

    async def drain_in_time(self) -> None:
        """Wait until there is room to write; a caller that reads nothing for too long is cut off."""
        if not self.full and not self.lost:
            return
        self._writing = True
        self._due(self._reception.write_timeout)
        try:
            await self.drain()
        finally:
            self._writing = False
            self.no_deadline()

    # --- the end

    def _refuse(self, problem: Problem, method: str) -> None:
        status, headers, body = self._reception.refuse(problem.kind, problem.detail, method)
        framing = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        head = heads.response_head(status, heads.reason_phrase(status), headers, framing)
        self._incoming.clear()
        self.transport.write(head if method == "HEAD" else head + body)
        self._hang_up(wait=True)

    def _hang_up(self, *, wait: bool) -> None:
        """Close. With `wait`, only after a while: closing while bytes still come would destroy the answer."""
        self._paused = False
        if wait and self.transport.can_write_eof():
            self._lingering = True
            self.transport.write_eof()
            self._due(LINGER)
            self.transport.resume_reading()
        else:
            self.transport.close()
            self._due(self._reception.write_timeout)

    def stop_waiting(self) -> None:
        """Wait no longer for the rest of a body."""
        if self._call is not None:
            self._call.stall()

    def close_if_idle(self) -> None:
        """Close unless a request is in hand."""
        if self._call is None and not self._lingering:
            self.transport.close()

    def cut(self) -> None:
        """Close at once; a request in hand stays among those whose caller has gone."""
        self.transport.abort()
        if self._task is not None:
            self._reception.left.add(self._task)
