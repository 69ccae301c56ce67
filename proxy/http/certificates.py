"""TLS on both sides: whom we take for Xero, and on the callers' port the files that say who we are and whom
we let in, read again when they change.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from proxy.clock import Clock, Timer

LOOK_SECONDS = 10.0
"""How often it is looked whether a file has changed."""

Stamp = tuple[tuple[int, int, int], ...]


class BadCertificate(Exception):
    """The files cannot be used; the text says why, and nothing of what is in them."""


class Certificates:
    """The TLS of a server by its `certificate` chain and `key`, both PEM files; with `authorities`, a file
    too, whoever connects needs a certificate that one of them vouches for.

    `use` gets a new context after each change: one that is in use cannot forget an authority. `told` gets
    what happened (`loaded`, `refused`) and until when the certificate is good, or why it is not used. What
    cannot be used changes nothing, and is told once.
    """

    def __init__(
        self,
        certificate: str,
        key: str,
        authorities: str,
        *,
        use: Callable[[ssl.SSLContext], None],
        told: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self._use = use
        self._told = told
        self._clock = clock
        self._seen: Stamp = ()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Load the files, and look after them until `close`. Raises `BadCertificate`."""
        self._seen = self._stamp()
        self._load()
        self._wait()

    def look(self) -> None:
        """Load the files again if one of them has changed."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._load()
        except BadCertificate as bad:
            self._told("refused", str(bad))

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_again(self) -> None:
        self.look()
        self._wait()

    def _wait(self) -> None:
        self._timer = self._clock.call_at(self._clock.now() + LOOK_SECONDS, self._look_again)

    def _load(self) -> None:
        context = server_context(self._certificate, self._key, self._authorities)
        self._use(context)
        self._told("loaded", good_until(self._certificate))

    def _stamp(self) -> Stamp:
        return tuple(_stamp_of(path) for path in (self._certificate, self._key, self._authorities) if path)


def server_context(certificate: str, key: str, authorities: str) -> ssl.SSLContext:
    """TLS 1.2 or newer by these files, the last of which may be empty. Raises `BadCertificate`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # By itself Python does so from 3.13 on: who gets in must not depend on that.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except (OSError, ValueError) as error:
        raise BadCertificate(f"certificate and key cannot be used: {_reason(error)}") from error
    if authorities:
        try:
            context.load_verify_locations(authorities)
        except (OSError, ValueError) as error:
            raise BadCertificate(f"the authorities of callers cannot be used: {_reason(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def upstream_context(authorities: str = "") -> ssl.SSLContext:
    """TLS 1.2 or newer to Xero, with names as certificates list them. Trusted is whom the system trusts, and
    whom the file of `authorities` holds where there is one. Raises `BadCertificate`.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if authorities:
        try:
            context.load_verify_locations(authorities)
        except (OSError, ValueError) as error:
            raise BadCertificate(f"the authorities of Xero cannot be used: {_reason(error)}") from error
    return context


def good_until(certificate: str) -> str:
    """Until when a file's first certificate is good: RFC 3339 in UTC, empty where that cannot be read."""
    from cryptography import x509  # noqa: PLC0415 - only where there is TLS

    try:
        end = x509.load_pem_x509_certificate(Path(certificate).read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return ""
    return f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _no_password() -> bytes:
    raise ValueError("the key is encrypted")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is no PEM file of that kind").replace("_", " ").lower()
    if isinstance(error, OSError):
        return (error.strerror or "it cannot be read").lower()
    return str(error)


def _stamp_of(path: str) -> tuple[int, int, int]:
    try:
        found = Path(path).stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
