"""The callers' side: listens, reads requests one at a time, and lets every `Call` be handled.

Nothing but the handler decides an answer, except where there is no request to hand over: a malformed
head, one that does not arrive in time, and a handler that crashed are answered through `refuse`. The
request is never quoted.

What a caller pipelines behind the request in hand waits unparsed. A caller that closes its side while it
waits counts as gone, as one that only shuts down its sending half does. Where so much is pipelined that no
more is read, the socket is asked now and then whether it is gone.

aiohttp's server is not used here, unlike on the admin port, because whoever calls decides about money with
somebody's token: it makes a trailer of one request a field of the next one, takes HTTP/0.9 and RTSP for HTTP
and a transfer coding of HTTP/1.0 for framing, tells an unknown method or version as 400, gives a head that
does not end an hour and then no answer, and lets whoever expects `100 Continue` wait for ever.
`tests/http/test_why_ours.py` shows each, and fails once the library has mended it.

An answer is framed here and never copied: Content-Length where the length is known, else chunked, else (for
HTTP/1.0) the end of the connection. A body that was cut upstream ends in a reset, never in a clean end.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from proxy.clock import Clock
from proxy.core.model import Headers
from proxy.core.wire import heads
from proxy.core.wire.framing import BadFraming, Chunked, Counted, Framing
from proxy.core.wire.heads import response_head
from proxy.core.wire.strict import Accepted, Own, Problem, Refusal, RequestHead, check_request
from proxy.http.body import Body, BodyProblem, BodyStore, Late, Stalled
from proxy.http.deadlines import Deadlines
from proxy.http.flow import Connection, Inflow, Lost
from proxy.http.listener import Listener
from proxy.http.response import Truncated

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTENT, NOT_MODIFIED = 204, 304
ONLY_PRIVATE = Own()
MAX_AHEAD = 64 * 1024
LINGER = 2.0
LOOK = 0.5
"""Seconds between two looks at whether a caller is still there from which nothing is read."""
NEVER = float("inf")
_LEFT = getattr(select, "POLLRDHUP", 0)
"""Where the system knows no such event, that a connection was reset is told all the same."""


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

    def __init__(self, caller: Caller, head: RequestHead, request: Accepted) -> None:
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


Handler = Callable[[Call], Awaitable[None]]
Refuse = Callable[[str, str, str], tuple[int, Headers, bytes]]
"""Makes the answer to a request that is refused, from a `Refusal`, a sentence for people, and the method,
empty where it is not known.
"""


class Caller(Connection):
    """A caller's connection."""

    __slots__ = ("_call", "_incoming", "_lingering", "_paused", "_port", "_task", "_writing")

    def __init__(self, downstream: Downstream) -> None:
        super().__init__()
        self._port = downstream
        self._incoming = heads.Incoming()
        self._call: Call | None = None
        self._task: asyncio.Task[None] | None = None
        self._lingering = False
        self._paused = False
        self._writing = False

    @property
    def draining(self) -> bool:
        """Whether answers end their connection."""
        return self._port.draining

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._port.callers.add(self)
        self._port.deadlines.watch(self)
        self._due(LINGER if self.draining else self._port.idle_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works on the request that its caller has gone."""
        super().connection_lost(exc)
        self._port.deadlines.forget(self)
        self._incoming.clear()
        if self._call is not None:
            self._call.leave()
        self._port.lose(self, self._task)

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
                self.deadline = now + self._port.body_timeout
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
                self._due(self._port.head_timeout if begun else self._port.idle_timeout)
            return
        self.deadline = NEVER
        if isinstance(head, Problem):
            self._refuse(head, heads.bodiless(self._incoming.data))
            return
        request = heads.read_request(head, self._port.lines)
        if isinstance(request, Problem):
            self._refuse(request, heads.bodiless(head))
        else:
            self._accept(request)

    def _accept(self, head: RequestHead) -> None:
        request = check_request(head, self._port.own)
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
            self._due(self._port.body_timeout)
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
            await self._port.handle(call)
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a bug must not reach the caller
            self._port.crashed(place_of(error))
        if call.begun:
            self.reset()
        elif not (call.answered or call.gone):
            call.keep_alive = False
            status, headers, body = self._port.refuse(Refusal.INTERNAL, "The proxy failed.", call.method)
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
            self._due(self._port.write_timeout)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._incoming.data:
            self._loop.call_soon(self._next)
            return
        self._due(self._port.idle_timeout)
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
        self.deadline = self._port.clock.now() + seconds

    def await_body(self) -> None:
        """Expect the next piece of the body in time."""
        self._due(self._port.body_timeout)

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
        self._due(self._port.write_timeout)
        try:
            await self.drain()
        finally:
            self._writing = False
            self.no_deadline()

    # --- the end

    def _refuse(self, problem: Problem, method: str) -> None:
        status, headers, body = self._port.refuse(problem.kind, problem.detail, method)
        framing = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        head = heads.response_head(status, heads.reason_phrase(status), headers, framing)
        self._incoming.clear()
        self.transport.write(head if method == "HEAD" else head + body)
        self._hang_up(wait=True)

    def _hang_up(self, *, wait: bool) -> None:
        """Close. With `wait`, only after a while: closing while bytes still come would destroy the answer."""
        self._paused = False
        if wait:
            self._lingering = True
            if self.transport.can_write_eof():  # TLS has no half of a connection to close
                self.transport.write_eof()
            self._due(LINGER)
            self.transport.resume_reading()
        else:
            self.close()
            self._due(self._port.write_timeout)

    def stop_waiting(self) -> None:
        """Wait no longer for the rest of a body."""
        if self._call is not None:
            self._call.stall()

    def close_if_idle(self) -> None:
        """Close unless a request is in hand."""
        if self._call is None and not self._lingering:
            self.close()

    def cut(self) -> None:
        """Close at once; a request in hand stays among those whose caller has gone."""
        self.transport.abort()
        if self._task is not None:
            self._port.left.add(self._task)


class Downstream:
    """Listens for callers. Timeouts are seconds.

    `head_timeout` bounds a head from its first byte on, `idle_timeout` a connection without a request,
    `body_timeout` the wait for each piece of a request body, `write_timeout` a caller that does not read.
    `callers` are the connections there are, `left` the requests whose caller has gone.
    `crashed` is told where the handler failed: type and place of the exception, nothing else of it; `late`
    how many seconds late the event loop is, now and then while callers are connected.
    """

    def __init__(
        self,
        handle: Handler,
        refuse: Refuse,
        *,
        clock: Clock,
        crashed: Callable[[str], None],
        late: Callable[[float], None] = lambda _seconds: None,
        idle_timeout: float = 75.0,
        head_timeout: float = 20.0,
        body_timeout: float = 30.0,
        write_timeout: float = 300.0,
    ) -> None:
        self.handle = handle
        self.refuse = refuse
        self.crashed = crashed
        self.clock = clock
        self.deadlines = Deadlines(clock, late=late)
        self.idle_timeout = idle_timeout
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.write_timeout = write_timeout
        self.own = ONLY_PRIVATE
        self.draining = False
        self.lines = heads.Lines()
        self.callers: set[Caller] = set()
        self.left: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._tls: ssl.SSLContext | None = None
        self._listener: Listener | None = None

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands by this context with whoever connects from now on."""
        self._tls = context
        if self._listener is not None:
            self._listener.tls = context

    async def start(self, host: str, port: int, own: Own = ONLY_PRIVATE) -> int:
        """Listen; return the port (the one given, or the one chosen for 0). `own` are public names that
        callers may use for the proxy.
        """
        self._listener = Listener(
            lambda: Caller(self),
            # A request whose caller has gone may still take a connection to Xero.
            lambda: len(self.callers) + len(self.left),
            self.clock,
        )
        self._listener.tls = self._tls
        bound = await self._listener.start(host, port)
        self.own = Own(own.hosts | {host.lower().encode()}, own.domains)
        return bound

    def drain(self) -> None:
        """Stop listening, close idle connections, and let the others end with their answer."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for caller in list(self.callers):
            caller.close_if_idle()
        self._check_empty()

    async def finished(self) -> None:
        """Wait, after `drain`, until the last caller has its answer and the last request has ended."""
        await self._empty.wait()

    def lose(self, caller: Caller, task: asyncio.Task[None] | None) -> None:
        """Note that a caller has gone; its request, an attempt in flight, is finished all the same."""
        self.callers.discard(caller)
        if task is not None:
            self.left.add(task)
            task.add_done_callback(self._ended)
        self._check_empty()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.left.discard(task)
        self._check_empty()

    def _check_empty(self) -> None:
        if not self.callers:
            self.lines.blocks.clear()
        if self.draining and not self.callers and not self.left:
            self._empty.set()

    def stop_waiting(self) -> None:
        """Wait no longer for what callers have still to send; they are answered."""
        for caller in list(self.callers):
            caller.stop_waiting()

    async def close(self) -> None:
        """Cut every connection that is left and cancel the handler of every request."""
        self.drain()
        for caller in list(self.callers):
            caller.cut()
        tasks = list(self.left)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def place_of(error: BaseException) -> str:
    """Type and place of what was raised, and nothing that it says."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {where}"
