"""How a connection to one of Xero's hosts comes about and is used again, or why it does not.

aiohttp makes connections, keeps them and tells them apart by where they lead. What is added: one on which
something has arrived that nobody asked for is given to nobody, a host that vanished is noticed, and whatever
goes wrong before there is a connection is a failure after which nothing can have been sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import select
import socket
import ssl
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from aiohttp import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ClientTimeout,
    TCPConnector,
)

from config.values import EgressProxy, Origin
from proxy.clock import Clock
from proxy.core.model import Failure, UpstreamView

if TYPE_CHECKING:
    from aiohttp import AddrInfoType, ClientRequest
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

IDLE_SECONDS = 50.0
UNACKNOWLEDGED = 60.0
"""Seconds for which what was sent may stay unacknowledged; a host that lives acknowledges at once."""
TOO_LATE = "refused_deadline"
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_NUMBER = re.compile(r"\[Errno ([0-9]{1,4})\]")
_OTHER_NAME = frozenset({62, 64})
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
"""What OpenSSL calls a mismatch of names or addresses, and the ways to be trusted by nobody we know."""
_ANOTHER_LOOK = 5.0
"""Seconds for a second handshake, which finds out whose certificate it is."""
_NAMES_SHOWN = 5
_PAUSE = 0.05
"""Seconds until it is tried again where there was no descriptor: nobody tells when there is one."""
_AT_ONCE = 1e-6
"""Seconds: aiohttp takes 0 for no bound at all."""
_DEATH = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe and between probes; probes."""


class Failed(Exception):
    """Why there is no response; neither an OSError nor of aiohttp, whose session passes it on as it is."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.name)
        self.failure = failure


class Connecting(Protocol):
    """Who wants a connection to `origin` by `connect_by`, a time of `Clock.now`. `contact` is told of it."""

    origin: Origin
    contact: Contact
    connect_by: float

    def connected(self, connection: Connection, *, kept: bool) -> None:
        """Take the connection, which has carried another request before if it was `kept`. Raises `Failed`."""


WANTED: ContextVar[Connecting] = ContextVar("wanted")
"""Who is to have the connection that the task asks aiohttp's session to use."""


class Connector(TCPConnector):
    """Makes connections within `timeout` seconds, through `proxy` where that is given, and keeps them."""

    def __init__(
        self, clock: Clock, *, timeout: float, tls: ssl.SSLContext | None, proxy: EgressProxy | None
    ) -> None:
        super().__init__(
            ssl=tls or True,
            limit=0,
            keepalive_timeout=IDLE_SECONDS,
            use_dns_cache=False,
            socket_factory=_endpoint,
        )
        self._clock = clock
        self._patience = timeout
        self._usual = _within(timeout)
        self._egress = proxy
        self._arrivals: WeakKeyDictionary[ResponseHandler, select.poll] = WeakKeyDictionary()
        """Asks the kernel whether bytes are waiting: what arrived this instant has not been read yet."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ARG002, ASYNC109 - aiohttp's signature
    ) -> Connection:
        """A connection that is fit for a request. Raises `Failed`."""
        wanted = WANTED.get()
        try:
            while True:
                connection = await self._connect(req, traces, wanted)
                protocol = connection.protocol
                arrivals = None if protocol is None else self._arrivals.get(protocol)
                if protocol is None or arrivals is None:
                    self._take_up(connection, protocol, wanted.contact)
                    break
                if not (protocol.should_close or arrivals.poll(0)):
                    break
                connection.close()
        except (ClientError, OSError) as error:
            failure = await self._failure(error, wanted)
            if failure.name != TOO_LATE:
                wanted.contact.note(failure, self._clock.now())
            raise Failed(failure) from error
        try:
            wanted.connected(connection, kept=arrivals is not None)
        except Failed:
            connection.release()
            raise
        return connection

    async def _connect(self, req: ClientRequest, traces: list[Trace], wanted: Connecting) -> Connection:
        """Where the process has no descriptor left this waits for one: that is no failure of the host's."""
        until = self._clock.now() + self._patience
        bound = self._usual
        if wanted.connect_by < until:
            until = wanted.connect_by
            bound = _within(until - self._clock.now())
        while True:
            try:
                return await super().connect(req, traces, bound)
            except ClientConnectorError as error:
                if error.os_error.errno not in _NO_DESCRIPTOR:
                    raise
            await self._clock.sleep_until(self._clock.now() + _PAUSE)
            bound = _within(until - self._clock.now())

    def _take_up(self, connection: Connection, protocol: ResponseHandler | None, contact: Contact) -> None:
        """Look after a new connection. Raises `ConnectionAbortedError` where it has ended already."""
        transport = connection.transport
        if protocol is None or transport is None or transport.is_closing():
            connection.close()
            raise ConnectionAbortedError
        arrivals = select.poll()
        arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._arrivals[protocol] = arrivals
        if (closed := protocol.closed) is not None:
            closed.add_done_callback(_retrieve)
        contact.note(None, self._clock.now())

    async def _failure(self, error: ClientError | OSError, wanted: Connecting) -> Failure:
        there = wanted.origin.authority.decode("ascii")
        through = self._egress if wanted.origin.scheme == "https" else None
        match error:
            case ClientProxyConnectionError():
                return _unconnected(error.os_error, f"the proxy {self._egress}")
            case ClientConnectorDNSError() if through is not None:
                detail = f"The proxy {through} could not be resolved: {error.os_error.strerror}."
                return unsent("dns_failed", "dns_error", detail)
            case ClientConnectorError():
                reason = error.os_error
                if isinstance(reason, ssl.SSLCertVerificationError) and reason.verify_code in _OTHER_NAME:
                    named = await _other_name(wanted.origin) if through is None else "is for another name"
                    reason.verify_message = named
                return connect_failure(reason, wanted.origin)
            case ClientHttpProxyError():
                detail = f"The proxy {self._egress} answered {error.status} when asked for {there}."
                return unsent("connect_failed", "destination_unavailable", detail)
            case TimeoutError() if wanted.connect_by <= self._clock.now():
                detail = f"No connection to {there} before the deadline of the request."
                return unsent(TOO_LATE, "connection_timeout", detail)
            case TimeoutError():
                detail = f"No connection to {there} within {self._patience:g} s."
                return unsent("connect_failed", "connection_timeout", detail)
            case ConnectionAbortedError():
                detail = f"{there} ended the new connection at once."
                return unsent("connect_failed", "connection_terminated", detail)
        detail = f"The proxy {self._egress} gave no answer in HTTP when asked for {there}."
        return unsent("connect_failed", "destination_unavailable", detail)


def _retrieve(closed: asyncio.Future[None]) -> None:
    """Take the error, of which whoever uses the connection learns elsewhere: else asyncio reports it."""
    closed.exception()


def _within(seconds: float) -> ClientTimeout:
    return ClientTimeout(connect=max(seconds, _AT_ONCE), ceil_threshold=inf)


def _endpoint(address: AddrInfoType) -> socket.socket:
    """A socket for which the kernel ends a connection whose peer vanished without a word within a minute.

    Otherwise a keyed write waits for the whole timeout, after which its key is too old to send it again.
    """
    family, kind, protocol, *_ = address
    endpoint = socket.socket(family, kind, protocol)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _DEATH.items():
        if (option := getattr(socket, name, None)) is not None:  # Linux has them all
            endpoint.setsockopt(socket.IPPROTO_TCP, option, value)
    bear_silence(endpoint, UNACKNOWLEDGED)
    return endpoint


def bear_silence(endpoint: socket.socket, seconds: float) -> None:
    """Let what was sent stay unacknowledged for so long, or wait until the peer has room for it again."""
    if (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
        endpoint.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))


async def _other_name(origin: Origin) -> str:
    """Whom the certificate names instead of this host: whoever mends that has to know.

    OpenSSL keeps what it does not believe to itself, so the host is asked once more, and told nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    names: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        connect = asyncio.get_running_loop().create_connection
        async with asyncio.timeout(_ANOTHER_LOOK):
            transport, _ = await connect(
                asyncio.Protocol, origin.host, origin.port, ssl=context, server_hostname=origin.host
            )
        names = _names(transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
        transport.abort()
    named = ", ".join(names[:_NAMES_SHOWN]) + (" and others" if len(names) > _NAMES_SHOWN else "")
    return f"is for {named}" if names else "is for no name"


def _names(certificate: bytes) -> list[str]:
    """The hosts that a certificate lists. Raises ValueError where it cannot be read."""
    from cryptography import x509  # noqa: PLC0415 - only where something is wrong

    try:
        extension = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return []
    listed = extension.value
    return [
        *listed.get_values_for_type(x509.DNSName),
        *map(str, listed.get_values_for_type(x509.IPAddress)),
    ]


def connect_failure(error: OSError, origin: Origin) -> Failure:
    """Why no connection to a host came about."""
    host, there = origin.host, origin.authority.decode("ascii")
    match error:
        case socket.gaierror():
            return unsent("dns_failed", "dns_error", f"{host} could not be resolved: {error.strerror}.")
        case ssl.SSLCertVerificationError():
            detail = f"The certificate of {there} {_distrust(error)}."
            return unsent("tls_failed", "tls_certificate_error", detail)
        case ssl.SSLError():
            reason = (error.reason or "the handshake failed").replace("_", " ").lower()
            return unsent("tls_failed", "tls_protocol_error", f"No TLS with {there}: {reason}.")
        case ConnectionResetError():  # only a handshake can be reset: before it is a refusal
            detail = f"No TLS with {there}: it ended the connection."
            return unsent("tls_failed", "tls_protocol_error", detail)
    return _unconnected(error, there)


def _unconnected(error: OSError, there: str) -> Failure:
    number = _number(error)
    reason = os.strerror(number).lower() if number else "it could not be reached"
    refused = number == errno.ECONNREFUSED
    kind = "connection_refused" if refused else "destination_unavailable"
    return unsent("connect_failed", kind, f"No connection to {there}: {reason}.")


def _number(error: OSError) -> int:
    """The error of the operating system; of several addresses that of all, or 0 where they differ."""
    if error.errno:
        return error.errno
    numbers = set(map(int, _NUMBER.findall(str(error))))
    return numbers.pop() if len(numbers) == 1 else 0


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _UNKNOWN_ISSUER:
        return "has an unknown issuer"
    if error.verify_code in _OTHER_NAME:
        return error.verify_message
    return f"is not valid: {error.verify_message}"


def unsent(name: str, error: str, detail: str) -> Failure:
    """A failure before the first byte."""
    return Failure(name, sent=False, error=error, detail=detail)


class Contact:
    """How connections to one host fared, of which the last is what counts. Times are the clock's."""

    def __init__(self) -> None:
        self._connected: bool | None = None
        self._connected_at: float | None = None
        self._error = ""
        self._failed_at: float | None = None

    def note(self, failure: Failure | None, now: float) -> None:
        """One was tried."""
        self._connected = failure is None
        if failure is None:
            self._connected_at = now
        else:
            self._error, self._failed_at = failure.detail, now

    def view(self, host: str, url: str, now: float) -> UpstreamView:
        """What operators are told."""
        came, failed = self._connected_at, self._failed_at
        return UpstreamView(
            host,
            url,
            self._connected,
            None if came is None else now - came,
            self._error,
            None if failed is None else now - failed,
        )
