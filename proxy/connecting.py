"""How a connection to one of Xero's hosts comes about, or why it does not."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

from config.values import Origin
from proxy.clock import Clock
from proxy.core.model import Failure
from proxy.exchange import Exchange
from proxy.tls import Tls

SECOND_ADDRESS = 0.25
"""Seconds for one address of a host until the next one is tried beside it."""
UNACKNOWLEDGED = 60.0
"""Seconds for which what was sent may stay unacknowledged; a host that lives acknowledges at once."""
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
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
        await tls.ready()


def connect_failure(error: OSError) -> Failure:
    """What `open_connection` raised."""
    match error:
        case socket.gaierror():
            return unsent("dns_failed", "dns_error", "The name of Xero's host could not be resolved.")
        case ssl.SSLCertVerificationError():
            return unsent(
                "tls_failed", "tls_certificate_error", "The certificate of Xero's host is not valid."
            )
        case ssl.SSLError() | ConnectionResetError():  # only a handshake can be reset: before it is a refusal
            return unsent("tls_failed", "tls_protocol_error", "No TLS connection to Xero's host came about.")
        case ConnectionRefusedError():
            return unsent("connect_failed", "connection_refused", "Xero's host refused the connection.")
        case _:
            return unsent("connect_failed", "destination_unavailable", "Xero's host could not be reached.")


def unsent(name: str, error: str, detail: str) -> Failure:
    """A failure before the first byte."""
    return Failure(name, sent=False, error=error, detail=detail)


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
