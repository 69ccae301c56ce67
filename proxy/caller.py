"""A caller's connection: heads and bodies in, one `Call` at a time.

What a caller pipelines behind the request in hand waits unparsed. A caller that closes its side while it
waits counts as gone, as one that only shuts down its sending half does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from proxy.call import Call
from proxy.clock import Clock
from proxy.core import heads
from proxy.core.framing import BadFraming
from proxy.core.model import Headers
from proxy.core.strict import Own, Problem, Refusal, RequestHead, check_request
from proxy.deadlines import Deadlines
from proxy.flow import Connection, Inflow

Handler = Callable[[Call], Awaitable[None]]
Refuse = Callable[[str, str], tuple[int, Headers, bytes]]
"""Makes the answer to a request that is refused, from a `Refusal` and a sentence for people."""

MAX_AHEAD = 64 * 1024
LINGER = 2.0
NEVER = float("inf")


@dataclass(slots=True)
class Reception:
    """What all callers' connections share. Timeouts are seconds."""

    handle: Handler
    refuse: Refuse
    crashed: Callable[[BaseException], None]
    clock: Clock
    deadlines: Deadlines
    idle_timeout: float
    head_timeout: float
    body_timeout: float
    write_timeout: float
    own: Own = field(default_factory=Own)
    draining: bool = False
    lines: heads.Lines = field(default_factory=heads.Lines)
    callers: set[Caller] = field(default_factory=set)
    left: set[asyncio.Task[None]] = field(default_factory=set)
    """Requests whose caller has gone: an attempt in flight is finished all the same."""
    empty: asyncio.Event = field(default_factory=asyncio.Event)

    def check_empty(self) -> None:
        """Note if no connection is left, and while draining no request either."""
        if not self.callers:
            self.lines.blocks.clear()
        if self.draining and not self.callers and not self.left:
            self.empty.set()

    def forget(self, task: asyncio.Task[None]) -> None:
        """Note that a request has ended whose caller had gone."""
        self.left.discard(task)
        self.check_empty()


class Caller(Connection):
    """A caller's connection."""

    __slots__ = ("_ahead", "_buffer", "_call", "_lingering", "_reception", "_task", "_writing")

    def __init__(self, reception: Reception) -> None:
        super().__init__()
        self._reception = reception
        self._buffer = b""
        self._ahead = b""
        self._call: Call | None = None
        self._task: asyncio.Task[None] | None = None
        self._lingering = False
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
        self._buffer = self._ahead = b""
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
        elif call is not None or self._ahead:
            self._keep_ahead(data)
        else:
            self._take_head(data)

    def resume_writing(self) -> None:
        """Go on with what is pipelined once the answer before it has left."""
        super().resume_writing()
        if self._call is None and self._ahead:
            self._next()

    def expire(self, now: float) -> None:
        """Act on a caller that is too slow, by what it was to do."""
        self.deadline = NEVER
        call = self._call
        if self._writing:
            self.reset()
        elif self.transport.is_closing():
            self.transport.abort()
        elif call is not None:
            if call.inflow is not None and call.inflow.paused:
                self.deadline = now + self._reception.body_timeout
            else:
                call.stall()
        elif self._buffer and not self._lingering:
            self._refuse(Problem(Refusal.TIMEOUT, "The head of the request did not arrive in time."))
        else:
            self._hang_up(wait=False)

    # --- a request comes in

    def _take_head(self, data: bytes) -> None:
        first = not self._buffer
        data = heads.without_empty_lines(self._buffer + data)
        end = data.find(heads.END_OF_HEAD)
        if end < 0:
            self._buffer = data
            if first and (data or self.deadline == NEVER):  # so that empty lines do not prolong anything
                self._due(self._reception.head_timeout if data else self._reception.idle_timeout)
            if problem := heads.partial_head_problem(data):
                self._refuse(problem)
            return
        self._buffer = b""
        self.deadline = NEVER
        head = heads.read_request(data[: end + len(heads.END_OF_HEAD)], self._reception.lines)
        if isinstance(head, Problem):
            self._refuse(head)
        else:
            self._accept(head, data[end + len(heads.END_OF_HEAD) :])

    def _accept(self, head: RequestHead, rest: bytes) -> None:
        request = check_request(head, self._reception.own)
        if isinstance(request, Problem):
            self._refuse(request)
            return
        call = Call(self, head, request)
        if not (call.has_body or call.keep_alive) and rest.strip(b"\r\n"):
            self._refuse(Problem(Refusal.MALFORMED, "Bytes follow a request that was to be the last."))
            return
        self._call = call
        if rest:
            self.data_received(rest)
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
        self._ahead += data
        if len(self._ahead) > MAX_AHEAD:
            self.transport.pause_reading()

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
            status, headers, body = self._reception.refuse(Refusal.INTERNAL, "The proxy failed.")
            await call.respond(status, heads.reason_phrase(status), headers, body)
        self._end(call)

    def _end(self, call: Call) -> None:
        self._call = self._task = None
        if self.lost:
            return
        if not call.keep_alive:
            self._hang_up(wait=bool(self._ahead) or not call.body_ended)
        elif self._ahead:
            if not self.full:
                self._loop.call_soon(self._next)
        else:
            self._due(self._reception.idle_timeout)
            if self.draining:
                self.close_if_idle()

    def _next(self) -> None:
        if self._call is None and not self.lost:
            data, self._ahead = self._ahead, b""
            self.transport.resume_reading()
            self.data_received(data)

    def _due(self, seconds: float) -> None:
        self.deadline = self._reception.clock.now() + seconds

    def await_body(self) -> None:
        """Expect the next piece of the body in time."""
        self._due(self._reception.body_timeout)

    def no_deadline(self) -> None:
        """Expect nothing from the caller."""
        self.deadline = NEVER

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

    def _refuse(self, problem: Problem) -> None:
        status, headers, body = self._reception.refuse(problem.kind, problem.detail)
        framing = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        reason = heads.reason_phrase(status)
        self._buffer = b""
        self.transport.write(heads.response_head(status, reason, headers, framing) + body)
        self._hang_up(wait=True)

    def _hang_up(self, *, wait: bool) -> None:
        """Close. With `wait`, only after a while: closing while bytes still come would destroy the answer."""
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
