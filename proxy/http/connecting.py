"""How a connection to one of Xero's hosts comes about, or why it does not."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl

from config.values import Origin
from proxy.clock import Clock
from proxy.core.model import Failure, UpstreamView
from proxy.http.exchange import Exchange
from proxy.http.tls import Tls

SECOND_ADDRESS = 0.25
"""Seconds for one address of a host until the next one is tried beside it."""
UNACKNOWLEDGED = 60.0
"""Seconds for which what was sent may stay unacknowledged; a host that lives acknowledges at once."""
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
_DEATH = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe and between probes; probes."""


async def open_connection(
    exchange: Exchange, origin: Origin, context: ssl.SSLContext | None, clock: Clock
) -> None:
    """Resolve, connect and, where there is to be TLS, shake hands. Raises OSError.

    Where the process has no descriptor left it waits for one: that is no failure of the host's.
    """
    tls = None
    if context is not None and origin.scheme == "https":
        tls = Tls(exchange, context, origin.host)
    connect = asyncio.get_running_loop().create_connection
    while True:
        try:
            await connect(
                lambda: tls or exchange, origin.host, origin.port, happy_eyeballs_delay=SECOND_ADDRESS
            )
            break
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
            await clock.sleep_until(clock.now() + _PAUSE)
    if tls is not None:
        try:
            await tls.ready()
        except ssl.SSLCertVerificationError as error:
            if error.verify_code in _OTHER_NAME:
                error.verify_message = await _other_name(origin)
            raise


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
    """What `open_connection` raised, with the host and the reason."""
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

    def note(self, made: Exchange | Failure, now: float) -> None:
        """One was tried."""
        self._connected = not isinstance(made, Failure)
        if isinstance(made, Failure):
            self._error, self._failed_at = made.detail, now
        else:
            self._connected_at = now

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


def notice_death(exchange: Exchange) -> None:
    """Let the kernel end a connection whose peer vanished without a word within about a minute.

    Otherwise a keyed write waits for the whole timeout, after which its key is too old to send it again.
    """
    connection = exchange.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _DEATH.items():
        if (option := getattr(socket, name, None)) is not None:  # Linux has them all
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    bear_silence(exchange, UNACKNOWLEDGED)


def bear_silence(exchange: Exchange, seconds: float) -> None:
    """Let what was sent stay unacknowledged for so long, or wait until the peer has room for it again."""
    if (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
        connection = exchange.transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))


def default_tls() -> ssl.SSLContext:
    """TLS 1.2 or newer, the system's trust store, and names as certificates list them."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context
