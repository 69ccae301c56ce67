"""One attempt at Xero: a response, or a failure that says whether anything was sent.

aiohttp's client speaks HTTP and TLS, and does nothing behind the retry table's back: no hidden resend, no
redirect, no cookie, no decompression, no re-encoding of the target. What goes wrong once there is a
connection is a failure whose outcome is unknown, and is reported, never repeated here.

Scheme, host and port come from the settings; a caller decides nothing but the path.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf
from typing import TYPE_CHECKING

from aiohttp import (
    ClientError,
    ClientRequest,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    HttpVersion10,
    ServerDisconnectedError,
)
from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from config.values import EgressProxy, Origin
from proxy.clock import Clock
from proxy.core.model import Failure, Headers, Host, UpstreamView
from proxy.core.wire.fields import Fields
from proxy.core.wire.framing import BadFraming, has_no_body, response_length
from proxy.core.wire.heads import MAX_FIELDS, MAX_HEAD
from proxy.http.body import Body
from proxy.http.certificates import upstream_context
from proxy.http.connecting import (
    TOO_LATE,
    UNACKNOWLEDGED,
    WANTED,
    Connector,
    Contact,
    Failed,
    bear_silence,
    unsent,
)
from proxy.http.deadlines import Deadlines
from proxy.http.response import BEGINNING_BYTES, Heard, Response, Truncated
from proxy.http.spool import SpoolFile

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.typedefs import LooseCookies

SMALL_BODY = 64 * 1024
READ_BUFFER = 64 * 1024
"""aiohttp stops reading from a connection while twice as many bytes of a body wait to be taken."""
FIRST_FINAL = 200
LAST_STATUS = 599
FIRST_ERROR = 400
AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Fields that aiohttp would add by itself."""

GARBAGE = ("upstream_garbage", "http_protocol_error")
GARBLED = (*GARBAGE, "What came is not well-formed HTTP.")
CUT = ("upstream_truncated", "http_response_incomplete")
BROKE = (*CUT, "The connection broke inside the answer.")
NO_ANSWER = ("upstream_reset", "connection_terminated", "Xero closed the connection without an answer.")


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
    """Xero's two hosts. `connect_timeout` is in seconds, and so is `timeout`, which runs from the start of
    sending to the end of the response, or to its first 64 KiB where it is larger, and from then on from one
    piece of its body to the next. What is read ahead waits in `spool`.
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
        tls: ssl.SSLContext | None = None,
        proxy: EgressProxy | None = None,
    ) -> None:
        self._origins = {Host.API: api, Host.IDENTITY: identity}
        self._urls = {host: URL(str(origin)) for host, origin in self._origins.items()}
        self._proxies = {
            host: URL(str(proxy)) if proxy and origin.scheme == "https" else None
            for host, origin in self._origins.items()
        }
        said = proxy is not None and proxy.authorization
        self._proxy_fields = {"Proxy-Authorization": said} if said else None
        self._contacts = {host: Contact() for host in Host}
        self._timeout = timeout
        self._clock = clock
        self.spool = spool or SpoolFile()
        if tls is None and "https" in (api.scheme, identity.scheme):
            tls = upstream_context()
        self._session = ClientSession(
            connector=Connector(clock, timeout=connect_timeout, tls=tls, proxy=proxy),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=AUTOMATIC,
            timeout=ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            max_headers=MAX_FIELDS,
            middlewares=(send_once,),
            request_class=Request,
        )
        self._deadlines = Deadlines(clock)
        self._under_way: set[Exchange] = set()
        self._closed = False

    async def send(self, outbound: Outbound) -> Response | Failure:
        """Send once. Returns when the body is whole or 64 KiB of it are there, or with what went wrong."""
        if not outbound.target.startswith(b"/"):
            raise ValueError("only a path can be sent")
        if self._closed:
            return CLOSED
        host = outbound.host
        task = asyncio.current_task()
        exchange = Exchange(
            outbound, self._origins[host], self._contacts[host], self._clock, self._timeout, self._over, task
        )
        self._under_way.add(exchange)
        self._deadlines.watch(exchange)
        WANTED.set(exchange)
        try:
            return await self._answer(outbound, exchange, await self._request(outbound, exchange))
        except Failed as failed:
            return exchange.failure or failed.failure
        except asyncio.CancelledError:
            exchange.drop()
            if exchange.failure is CLOSED and task is not None and not task.uncancel():
                return CLOSED
            raise
        finally:
            if not exchange.passing:
                exchange.end()

    async def _request(self, outbound: Outbound, exchange: Exchange) -> ClientResponse:
        fields, body = _fields(outbound.headers), outbound.body
        data: bytes | memoryview | AsyncIterator[bytes | memoryview] | None = None
        if body is not None:
            fields[CONTENT_LENGTH] = str(body.size)
            data = exchange.pieces(body) if exchange.large else body.in_memory
        return await self._session.request(
            outbound.method,
            self._urls[outbound.host].with_path(outbound.target.decode("latin-1"), encoded=True),
            headers=fields,
            data=data,
            allow_redirects=False,
            proxy=self._proxies[outbound.host],
            proxy_headers=self._proxy_fields,
        )

    async def _answer(self, outbound: Outbound, exchange: Exchange, reply: ClientResponse) -> Response:
        head_at, fields, content = self._clock.now(), Fields(reply.raw_headers), reply.content
        length = exchange.head(reply, fields)
        heard, first = outbound.heard, bytearray()
        if content.total_bytes or content.is_eof():
            first += exchange.there()
        while not content.at_eof() and len(first) < SMALL_BODY:
            if heard is not None:
                enough = heard(reply.status, fields, bytes(first[:BEGINNING_BYTES]), head_at)
                if enough:
                    break
                heard = heard if enough is None else None
            first += await exchange.piece()
        exchange.passing = not content.at_eof()
        return Response(
            reply.status,
            (reply.reason or "").encode("utf-8", "surrogateescape"),
            fields,
            bytes(first),
            length,
            head_at,
            exchange if exchange.passing else None,
            self.spool,
            kept=exchange.kept,
        )

    async def reach(self, host: Host) -> Failure | None:
        """Connect and leave again; what went wrong."""
        made = await self.send(Outbound(host, "GET", b"/", (), None, go_by=-inf))
        return made if isinstance(made, Failure) and made is not KEY_OUTLIVED else None

    def view(self) -> tuple[UpstreamView, ...]:
        """Both hosts, and how connections to them fared."""
        now = self._clock.now()
        return tuple(self._contacts[host].view(host.value, str(self._origins[host]), now) for host in Host)

    async def close(self) -> None:
        """Drop every connection, so that each attempt under way fails; no other is made."""
        self._closed = True
        for exchange in list(self._under_way):
            exchange.close()
        await self._clock.sleep_until(self._clock.now())  # one turn of the loop, in which they end
        await self._session.close()

    def _over(self, exchange: Exchange) -> None:
        self._under_way.discard(exchange)
        self._deadlines.forget(exchange)


class Request(ClientRequest):
    """A request to which nothing is added: without a body there is nothing to look for."""

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Note what is not to be added."""
        if CONTENT_LENGTH in self.headers or self.method in self.POST_METHODS:
            super().update_auto_headers(skip_auto_headers)

    def update_cookies(self, cookies: LooseCookies | None) -> None:
        """There are none but the caller's own."""


class Exchange:
    """One request and its response, with a connection of their own until both have ended: what `Connector`
    and `Deadlines` know of it, and the `Rest` of the response. `over` is told of its end.
    """

    def __init__(
        self,
        outbound: Outbound,
        origin: Origin,
        contact: Contact,
        clock: Clock,
        timeout: float,
        over: Callable[[Exchange], None],
        task: asyncio.Task[object] | None,
    ) -> None:
        body = outbound.body
        self.origin = origin
        self.contact = contact
        self.connect_by = outbound.deadline
        self.deadline = inf
        self.large = body is not None and (body.in_memory is None or body.size > SMALL_BODY)
        self.kept = False
        self.passing = False
        """Whether somebody has the beginning of the answer: then each piece has the whole timeout."""
        self.failure: Failure | None = None
        """Why we ended it ourselves."""
        self._method = outbound.method
        self._go_by = outbound.go_by
        self._clock = clock
        self._timeout = timeout
        self._over = over
        self._task = task
        """Whom to wake while there is no connection; not longer, as the task knows of the exchange too."""
        self._protocol: ResponseHandler | None = None
        self._connection: Connection | None = None
        self._reply: ClientResponse | None = None
        self._sent = not self.large
        self._waiting = True
        """Whether Xero is waited for; what our side holds back has time."""
        self._until_close = False
        self._loss: asyncio.Future[None] | None = None
        """The end of the connection, while a body is to come."""

    # --- a connection

    def connected(self, connection: Connection, *, kept: bool) -> None:
        """Take it, unless no byte may leave any more."""
        if self.failure is not None:
            raise Failed(self.failure)
        if self._clock.elapsed() >= self._go_by:
            raise Failed(KEY_OUTLIVED)
        self._task = None
        self._connection, self._protocol, self.kept = connection, connection.protocol, kept
        if self.large and self._go_by == inf:  # who takes no more for a while need not be dead
            self._bear_silence(max(UNACKNOWLEDGED, self._timeout))
            connection.add_callback(partial(self._bear_silence, UNACKNOWLEDGED))
        self.deadline = self._clock.now() + self._timeout

    @property
    def _ours(self) -> asyncio.Transport | None:
        """The connection, until another may have it."""
        return None if self._connection is None else self._connection.transport

    def _bear_silence(self, seconds: float) -> None:
        if (ours := self._ours) is not None and not ours.is_closing():
            bear_silence(ours.get_extra_info("socket"), seconds)

    def expire(self, now: float) -> None:
        """End it where its time is up."""
        if self._waiting:
            self._cut("upstream_timeout", "http_response_timeout", "No complete answer came in time.")
        self.deadline = now + self._timeout

    def close(self) -> None:
        """End it because nothing is sent any more."""
        if self._protocol is not None:
            self._cut(*(BROKE if self._reply is not None else NO_ANSWER))
        elif self._task is not None:
            self.failure = CLOSED
            self._task.cancel()

    def drop(self) -> None:
        """End the connection now: a body that would have ended with it is not whole."""
        self._cut("upstream_truncated", "http_response_incomplete", "The connection was given up.")
        self.end()

    def _cut(self, name: str, error: str, detail: str) -> None:
        if (ours := self._ours) is not None:
            self.failure = self.failure or Failure(name, sent=True, error=error, detail=detail)
            ours.abort()

    def end(self) -> None:
        """Let go of the connection, of which nobody else can make use if something is still to come."""
        if (ours := self._ours) is not None:
            ours.abort()
        if self._reply is not None and (ours is not None or not self._reply.content.is_eof()):
            self._reply.close()
        self._task = None
        if self._loss is not None:
            self._loss.remove_done_callback(self._lost)
        self._over(self)

    # --- the request

    async def pieces(self, body: Body) -> AsyncIterator[bytes | memoryview]:
        """The body, until there is an answer or its time is up."""
        try:
            async with contextlib.aclosing(body.pieces()) as pieces:
                async for piece in pieces:
                    if self._reply is not None:
                        return
                    if self._clock.elapsed() >= self._go_by:
                        self.drop()
                        return
                    yield piece
                    del piece  # or it stays until the next one is there
        except OSError:
            if self._reply is None:
                detail = "The kept request body could not be read."
                self._cut("upstream_reset", "proxy_internal_error", detail)
            return
        self._sent = True

    # --- the response

    def head(self, reply: ClientResponse, fields: Fields) -> int | None:
        """Note that the head is here; the length that it declares. Raises `Failed` where it is no good."""
        self._reply, self._waiting = reply, False
        method, status = self._method, reply.status
        if reply.version is None or reply.version.major != 1:
            raise _failed(*GARBLED)
        if not FIRST_FINAL <= status <= LAST_STATUS:
            raise _failed(*GARBAGE, f"The status {status} cannot be an answer.")
        try:
            length, self._until_close = response_length(method, status, fields)
        except BadFraming as error:
            raise _failed(*GARBAGE, f"{error}.") from error
        if self._until_close and self.origin.scheme == "https" and status < FIRST_ERROR:
            # Anybody on the way can end a connection, and asyncio takes that for the peer's own word.
            raise _failed(*CUT, "Nothing in the answer says where it ends.")
        coded = b"transfer-encoding" in fields
        beyond = bool(coded or length) and has_no_body(method, status)
        if self._protocol is not None and (beyond or not self._sent or (coded and _is_old(reply))):
            self._protocol.force_close()
        if self._protocol is not None and not reply.content.is_eof():
            self._loss = self._protocol.closed
            if self._loss is None:
                self._lost()
            else:
                self._loss.add_done_callback(self._lost)
        return length

    def _lost(self, _closed: object = None) -> None:
        """Tell whoever reads the body: where a later chunk is malformed aiohttp lets it wait for ever."""
        if self._reply is not None and not self._reply.content.is_eof():
            self._reply.content.set_exception(Truncated())

    def there(self) -> bytes:
        """What has come of the body with its head. Raises `Failed`."""
        if self._reply is None:
            return b""
        try:
            piece = self._reply.content.read_nowait()
        except (ClientError, OSError) as error:
            raise self._broken() from error
        if self._reply.content.at_eof():
            self._is_whole()
        return piece

    async def piece(self) -> bytes:
        """The next bytes of the body, empty at the end. Raises `Failed`."""
        if self._reply is None:
            return b""
        self._waiting = True
        try:
            piece = await self._reply.content.readany()
        except (ClientError, OSError) as error:
            raise self._broken() from error
        finally:
            self._waiting = False
        if self._reply.content.at_eof():
            self._is_whole()
        elif self.passing:
            self.deadline = self._clock.now() + self._timeout
        return piece

    async def read(self) -> bytes:
        """As `Rest.read`."""
        try:
            piece = await self.piece()
        except Failed as failed:
            self.end()
            raise Truncated(failed.failure.detail) from failed
        if not piece:
            self.end()
        return piece

    def _is_whole(self) -> None:
        """Raises `Failed` where a body that ends with its connection was cut: aiohttp takes any end."""
        cut = self._until_close and not isinstance(self._error(), ServerDisconnectedError)
        if cut or self.failure is not None:
            raise self._broken()

    def _broken(self) -> Failed:
        garbled = isinstance(self._error(), HttpProcessingError)
        return Failed(self.failure) if self.failure else _failed(*(GARBLED if garbled else BROKE))

    def _error(self) -> BaseException | None:
        return None if self._protocol is None else self._protocol.exception()


async def send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Let aiohttp's session hear of failures as `Failed` alone: after others it sends a request anew, and
    what may have been executed runs twice. What is not `Failed` yet came after the first byte.
    """
    try:
        return await handler(request)
    except ServerDisconnectedError as error:
        raise _failed(*(NO_ANSWER if isinstance(error.message, str) else BROKE)) from error
    except ClientResponseError as error:
        raise _failed(*GARBLED) from error
    except (ClientError, OSError) as error:
        raise _failed(*NO_ANSWER) from error


def _fields(headers: Headers) -> CIMultiDict[str]:
    """Repeated fields have the spelling of the first: of others aiohttp keeps the last alone."""
    spelled: dict[str, str] = {}
    fields: CIMultiDict[str] = CIMultiDict()
    for name, value in headers:
        text, folded = _text(name)
        fields.add(spelled.setdefault(folded, text), value.decode())
    return fields


@lru_cache(maxsize=512)
def _text(name: bytes) -> tuple[str, str]:
    text = name.decode("ascii")
    return text, text.lower()


def _is_old(reply: ClientResponse) -> bool:
    """Whether its sender may see the end of a transfer coding elsewhere (RFC 9112, 6.1)."""
    return reply.version == HttpVersion10


def _failed(name: str, error: str, detail: str) -> Failed:
    return Failed(Failure(name, sent=True, error=error, detail=detail))


KEY_OUTLIVED = unsent(TOO_LATE, "http_request_denied", "Xero may have forgotten the key by now.")
CLOSED = unsent("connect_failed", "connection_terminated", "The proxy is shutting down.")
