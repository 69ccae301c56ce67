"""One attempt at Xero: a response, or a failure that says whether anything was sent.

The connections are ours, so that nothing happens behind the retry table's back: no hidden resend, no
redirect, no cookie, no decompression, no re-encoding of the target. A connection that died after the
first byte was written is a failure whose outcome is unknown, and is reported, never repeated here.

Scheme, host and port come from the settings; a caller decides nothing but the path.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from functools import partial
from math import inf

from config.values import Origin
from proxy.clock import Clock
from proxy.core.model import Failure, Headers, Host, UpstreamView
from proxy.core.wire.heads import Lines
from proxy.http.body import Body
from proxy.http.connecting import (
    UNACKNOWLEDGED,
    Contact,
    bear_silence,
    connect_failure,
    default_tls,
    notice_death,
    open_connection,
    unsent,
)
from proxy.http.deadlines import Deadlines
from proxy.http.exchange import Exchange, Result
from proxy.http.flow import Lost
from proxy.http.response import Heard, Response
from proxy.http.spool import SpoolFile

SMALL_BODY = 64 * 1024
IDLE_SECONDS = 50.0
MAX_IDLE = 256
_ALWAYS_LENGTH = frozenset({"POST", "PUT", "PATCH"})


@dataclass(slots=True)
class Outbound:
    """A request as it is sent. `headers` are end-to-end only; Host and framing are added here. No byte may
    leave from `go_by` on, a time of `Clock.elapsed`, and none before there is a connection by `deadline`, a
    time of `Clock.now`. `heard` is told of an answer in pieces.
    """

    host: Host
    method: str
    target: bytes
    headers: Headers
    body: Body | None
    go_by: float = inf
    heard: Heard | None = None
    deadline: float = inf


class Upstream:
    """Connections to Xero's two hosts, of which at most `most_idle` to each are kept. Timeouts are seconds.

    `timeout` runs from the start of sending to the end of the response, or to its first 64 KiB where it is
    larger, and from then on from one piece of its body to the next. What is read ahead waits in `spool`.
    """

    def __init__(
        self,
        api: Origin,
        identity: Origin,
        *,
        connect_timeout: float,
        timeout: float,
        clock: Clock,
        spool: SpoolFile | None = None,
        idle_seconds: float = IDLE_SECONDS,
        most_idle: int = MAX_IDLE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._origins = {Host.API: api, Host.IDENTITY: identity}
        self._host_lines = {host: b"Host: " + origin.authority for host, origin in self._origins.items()}
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._clock = clock
        self.spool = spool or SpoolFile()
        self._idle_seconds = idle_seconds
        self._most_idle = min(MAX_IDLE, most_idle)
        needs_tls = "https" in (api.scheme, identity.scheme)
        self._tls = (tls or default_tls()) if needs_tls else None
        self._lines = Lines()
        self._idle: dict[Host, list[Exchange]] = {Host.API: [], Host.IDENTITY: []}
        self._contacts = {host: Contact() for host in Host}
        self._open: set[Exchange] = set()
        self._connecting: set[asyncio.Future[None]] = set()
        self._deadlines = Deadlines(clock)
        self._closed = False

    async def send(self, outbound: Outbound) -> Result:
        """Send once. Returns when the body is whole or 64 KiB of it are there, or with what went wrong."""
        if not outbound.target.startswith(b"/"):
            raise ValueError("only a path can be sent")
        exchange = (pooled := self._pooled(outbound.host)) or await self._connect(
            outbound.host, outbound.deadline
        )
        if isinstance(exchange, Failure):
            return exchange
        if self._clock.elapsed() >= outbound.go_by:
            self._keep(outbound.host, exchange)
            return KEY_OUTLIVED
        result, exchange.heard = exchange.begin(outbound.method), outbound.heard
        head, body = self._head(outbound), outbound.body
        try:
            if body is None or (body.in_memory is not None and body.size <= SMALL_BODY):
                exchange.transport.write(head + (body.in_memory or b"") if body else head)
                exchange.sent()
            else:
                if outbound.go_by == inf:
                    exchange.patient = True  # one that takes no more for a while need not be dead
                    bear_silence(exchange, max(UNACKNOWLEDGED, self._timeout))
                exchange.transport.write(head)
                await self._write(exchange, body, outbound.go_by)
            answer = await result
        except asyncio.CancelledError:
            exchange.drop()
            raise
        if pooled is not None and isinstance(answer, Response):
            answer.kept = True
        return answer

    async def close(self) -> None:
        """Drop every connection, so that each attempt under way fails; no other is made."""
        self._closed = True
        for connecting in self._connecting:
            connecting.cancel()
        for exchange in list(self._open):
            exchange.drop()
        await self._clock.sleep_until(self._clock.now())  # one turn of the loop, in which they end

    async def _write(self, exchange: Exchange, body: Body, go_by: float) -> None:
        try:
            async with contextlib.aclosing(body.pieces()) as pieces:
                async for piece in pieces:
                    if exchange.answered:
                        return  # an early answer: the connection is not used again
                    if self._clock.elapsed() >= go_by:
                        exchange.drop()
                        return
                    exchange.transport.write(piece)
                    del piece  # or it stays until the next one is there
                    await exchange.drain()
        except Lost:
            return  # the exchange has noted it
        except OSError:
            exchange.abandon()
            return
        exchange.sent()

    def _head(self, outbound: Outbound) -> bytes:
        lines = [
            b"%b %b HTTP/1.1" % (outbound.method.encode(), outbound.target),
            self._host_lines[outbound.host],
            *map(b": ".join, outbound.headers),
        ]
        if outbound.body is not None:
            lines.append(b"Content-Length: %d" % outbound.body.size)
        elif outbound.method in _ALWAYS_LENGTH:
            lines.append(b"Content-Length: 0")
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    # --- connections

    def _pooled(self, host: Host) -> Exchange | None:
        idle = self._idle[host]
        while idle:
            exchange = idle.pop()
            if exchange.fit():
                return exchange
            exchange.drop()
        return None

    def _keep(self, host: Host, exchange: Exchange) -> None:
        idle = self._idle[host]
        if self._closed or len(idle) >= self._most_idle:
            exchange.transport.close()
            return
        if exchange.patient:
            exchange.patient = False
            bear_silence(exchange, UNACKNOWLEDGED)
        exchange.deadline = self._clock.now() + self._idle_seconds
        idle.append(exchange)

    def _forget(self, host: Host, exchange: Exchange) -> None:
        self._open.discard(exchange)
        self._deadlines.forget(exchange)
        with contextlib.suppress(ValueError):
            self._idle[host].remove(exchange)

    async def reach(self, host: Host) -> Failure | None:
        """Connect and leave again; what went wrong."""
        exchange = await self._connect(host)
        if isinstance(exchange, Failure):
            return exchange
        exchange.transport.close()
        return None

    def view(self) -> tuple[UpstreamView, ...]:
        """Both hosts, and how connections to them fared."""
        now = self._clock.now()
        return tuple(self._contacts[host].view(host.value, str(self._origins[host]), now) for host in Host)

    async def _connect(self, host: Host, deadline: float = inf) -> Exchange | Failure:
        made = await self._try_to_connect(host, deadline)
        if made is not _CLOSED and not (isinstance(made, Failure) and made.name == TOO_LATE):
            self._contacts[host].note(made, self._clock.now())
        return made

    async def _try_to_connect(self, host: Host, deadline: float) -> Exchange | Failure:
        if self._closed:
            return _CLOSED
        exchange, origin = self._exchange(host), self._origins[host]
        connecting = asyncio.ensure_future(open_connection(exchange, origin, self._tls, self._clock))
        self._connecting.add(connecting)
        try:
            left = max(0.0, deadline - self._clock.now())
            done, _ = await asyncio.wait({connecting}, timeout=min(self._connect_timeout, left))
        finally:
            self._connecting.discard(connecting)
            if not connecting.done():
                connecting.cancel()
        if connecting.cancelled():
            return _CLOSED
        if not done and left < self._connect_timeout:
            detail = f"No connection to {origin.authority.decode()} before the deadline of the request."
            return unsent(TOO_LATE, "connection_timeout", detail)
        if not done:
            detail = f"No connection to {origin.authority.decode()} within {self._connect_timeout:g} s."
            return unsent("connect_failed", "connection_timeout", detail)
        try:
            connecting.result()
        except OSError as error:
            return connect_failure(error, origin)
        return self._take_up(exchange, origin)

    def _take_up(self, exchange: Exchange, origin: Origin) -> Exchange | Failure:
        if self._closed:  # while this one was on its way from the loop to here
            exchange.drop()
            return _CLOSED
        if exchange.transport.is_closing():
            detail = f"{origin.authority.decode()} ended the new connection at once."
            return unsent("connect_failed", "connection_terminated", detail)
        notice_death(exchange)
        self._open.add(exchange)
        self._deadlines.watch(exchange)
        return exchange

    def _exchange(self, host: Host) -> Exchange:
        return Exchange(
            self._clock,
            self._lines,
            timeout=self._timeout,
            spool=self.spool,
            idle=partial(self._keep, host),
            gone=partial(self._forget, host),
        )


TOO_LATE = "refused_deadline"
KEY_OUTLIVED = unsent(TOO_LATE, "http_request_denied", "Xero may have forgotten the key by now.")
_CLOSED = unsent("connect_failed", "connection_terminated", "The proxy is shutting down.")
