"""One attempt at Xero: a response, or a failure that says whether anything was sent.

The connections are ours, so that nothing happens behind the retry table's back: no hidden resend, no
redirect, no cookie, no decompression, no re-encoding of the target. A connection that died after the
first byte was written is a failure whose outcome is unknown, and is reported, never repeated here.

Scheme, host and port come from the settings; a caller decides nothing but the path.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from math import inf

from config.values import Origin
from proxy.body import Body
from proxy.clock import Clock
from proxy.core.heads import Lines
from proxy.core.model import Failure, Headers, Host
from proxy.deadlines import Deadlines
from proxy.exchange import Exchange, Result
from proxy.flow import Lost
from proxy.response import Response
from proxy.tls import Tls

SMALL_BODY = 64 * 1024
IDLE_SECONDS = 50.0
MAX_IDLE = 256
HAPPY_EYEBALLS_DELAY = 0.25
_DEATH = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe and between probes; probes."""
UNACKNOWLEDGED = 60.0
"""Seconds for which what was sent may stay unacknowledged; a host that lives acknowledges at once."""
_ALWAYS_LENGTH = frozenset({"POST", "PUT", "PATCH"})


@dataclass(slots=True)
class Outbound:
    """A request as it is sent. `headers` are end-to-end only; Host and framing are added here. From
    `go_by` on, a time of `Clock.elapsed`, no byte may leave.
    """

    host: Host
    method: str
    target: bytes
    headers: Headers
    body: Body | None
    go_by: float = inf


class Upstream:
    """Pooled connections to Xero's two hosts. Timeouts are seconds.

    `timeout` runs from the start of sending to the end of the response, or to its first 64 KiB where it is
    larger, and from then on from one piece of its body to the next.
    """

    def __init__(
        self,
        api: Origin,
        identity: Origin,
        *,
        connect_timeout: float,
        timeout: float,
        clock: Clock,
        spool_dir: str | None = None,
        idle_seconds: float = IDLE_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._origins = {Host.API: api, Host.IDENTITY: identity}
        self._host_lines = {host: b"Host: " + origin.authority for host, origin in self._origins.items()}
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._clock = clock
        self._spool_dir = spool_dir
        self._idle_seconds = idle_seconds
        needs_tls = "https" in (api.scheme, identity.scheme)
        self._tls = (tls or _default_tls()) if needs_tls else None
        self._lines = Lines()
        self._idle: dict[Host, list[Exchange]] = {Host.API: [], Host.IDENTITY: []}
        self._open: set[Exchange] = set()
        self._connecting: set[asyncio.Future[Exchange]] = set()
        self._deadlines = Deadlines(clock)
        self._closed = False

    async def send(self, outbound: Outbound) -> Result:
        """Send once. Returns when the body is whole or 64 KiB of it are there, or with what went wrong."""
        if not outbound.target.startswith(b"/"):
            raise ValueError("only a path can be sent")
        pooled = self._pooled(outbound.host)
        exchange = pooled or await self._connect(outbound.host)
        if isinstance(exchange, Failure):
            return exchange
        if self._clock.elapsed() >= outbound.go_by:
            self._keep(outbound.host, exchange)
            return _TOO_LATE
        result = exchange.begin(outbound.method)
        head, body = self._head(outbound), outbound.body
        try:
            if body is None or (body.in_memory is not None and body.size <= SMALL_BODY):
                exchange.transport.write(head + (body.in_memory or b"") if body else head)
                exchange.sent()
            else:
                if outbound.go_by == inf:
                    exchange.patient = True  # one that takes no more for a while need not be dead
                    _bear_silence(exchange, max(UNACKNOWLEDGED, self._timeout))
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
        if self._closed or len(idle) >= MAX_IDLE:
            exchange.transport.close()
            return
        if exchange.patient:
            exchange.patient = False
            _bear_silence(exchange, UNACKNOWLEDGED)
        exchange.deadline = self._clock.now() + self._idle_seconds
        idle.append(exchange)

    def _forget(self, host: Host, exchange: Exchange) -> None:
        self._open.discard(exchange)
        self._deadlines.forget(exchange)
        with contextlib.suppress(ValueError):
            self._idle[host].remove(exchange)

    async def _connect(self, host: Host) -> Exchange | Failure:
        if self._closed:
            return _CLOSED
        connecting = asyncio.ensure_future(self._open_connection(host))
        self._connecting.add(connecting)
        try:
            done, _ = await asyncio.wait({connecting}, timeout=self._connect_timeout)
        finally:
            self._connecting.discard(connecting)
            if not connecting.done():
                connecting.cancel()
        if connecting.cancelled():
            return _CLOSED
        if not done:
            return _unsent("connect_failed", "connection_timeout", "No connection came about in time.")
        try:
            exchange = connecting.result()
        except OSError as error:
            return _connect_failure(error)
        return self._take_up(exchange)

    def _take_up(self, exchange: Exchange) -> Exchange | Failure:
        if self._closed:  # while this one was on its way from the loop to here
            exchange.drop()
            return _CLOSED
        if exchange.transport.is_closing():
            return _unsent(
                "connect_failed", "connection_terminated", "Xero closed the new connection at once."
            )
        _notice_death(exchange)
        self._open.add(exchange)
        self._deadlines.watch(exchange)
        return exchange

    async def _open_connection(self, host: Host) -> Exchange:
        """Resolve, connect and, where there is to be TLS, shake hands. Raises OSError."""
        origin, exchange = self._origins[host], self._exchange(host)
        tls = None
        if self._tls is not None and origin.scheme == "https":
            tls = Tls(exchange, self._tls, origin.host)
        await asyncio.get_running_loop().create_connection(
            lambda: tls or exchange, origin.host, origin.port, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY
        )
        if tls is not None:
            await tls.ready()
        return exchange

    def _exchange(self, host: Host) -> Exchange:
        return Exchange(
            self._clock,
            self._lines,
            timeout=self._timeout,
            spool_dir=self._spool_dir,
            idle=partial(self._keep, host),
            gone=partial(self._forget, host),
        )


def _connect_failure(error: OSError) -> Failure:
    match error:
        case socket.gaierror():
            return _unsent("dns_failed", "dns_error", "The name of Xero's host could not be resolved.")
        case ssl.SSLCertVerificationError():
            return _unsent(
                "tls_failed", "tls_certificate_error", "The certificate of Xero's host is not valid."
            )
        case ssl.SSLError() | ConnectionResetError():  # only a handshake can be reset: before it is a refusal
            return _unsent("tls_failed", "tls_protocol_error", "No TLS connection to Xero's host came about.")
        case ConnectionRefusedError():
            return _unsent("connect_failed", "connection_refused", "Xero's host refused the connection.")
        case _:
            return _unsent("connect_failed", "destination_unavailable", "Xero's host could not be reached.")


def _notice_death(exchange: Exchange) -> None:
    """Let the kernel end a connection whose peer vanished without a word within about a minute.

    Otherwise a keyed write waits for the whole timeout, after which its key is too old to send it again.
    """
    connection = exchange.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _DEATH.items():
        if (option := getattr(socket, name, None)) is not None:  # Linux has them all
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    _bear_silence(exchange, UNACKNOWLEDGED)


def _bear_silence(exchange: Exchange, seconds: float) -> None:
    """Let what was sent stay unacknowledged for so long, or wait until the peer has room for it again."""
    if (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
        connection = exchange.transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))


def _unsent(name: str, error: str, detail: str) -> Failure:
    return Failure(name, sent=False, error=error, detail=detail)


_TOO_LATE = _unsent("refused_deadline", "http_request_denied", "Xero may have forgotten the key by now.")
_CLOSED = _unsent("connect_failed", "connection_terminated", "The proxy is shutting down.")


def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context
