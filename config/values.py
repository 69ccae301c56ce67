"""The kinds of value that a setting can have: how its text is read, and which texts are allowed.

A reader answers None for a text it does not accept and never quotes it, so that a secret pasted into the
wrong variable is not printed; `Kind.allowed` is what the operator is told instead.
"""

from __future__ import annotations

import ipaddress
import os
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote, unquote_to_bytes

_LONGEST_SOCKET = 100
"""Bytes of a path; Linux takes 107, others fewer."""
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
_HOST_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*", re.ASCII)
_TOKEN = re.compile(r"[!-~]{0,4096}", re.ASCII)
_REDIS = re.compile(r"(rediss?://|unix:///)[!-~]{1,4096}", re.ASCII)
_PLAIN_ADDRESS = re.compile(r"(rediss?://|http://)([^@/?#]*@)?([A-Za-z0-9._:\[\]-]+)((?:/[0-9]*)?)")
_EGRESS = re.compile(r"http://((?P<login>[!-~]*)@)?(?P<where>[^@/?#]+)/?", re.ASCII)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORTS = {"http": 80, "https": 443}
_FLAGS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket listens. Port 0 takes any free port. A host that begins with a slash is the path of a
    socket of this machine, without a port.
    """

    host: str
    port: int

    @property
    def is_path(self) -> bool:
        """Whether it is a socket of this machine's."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        if self.is_path:
            return f"unix:{self.host}"
        return f"{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an upstream: all that a request's destination is ever made of."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """The `Host` header's value: the port only where it is not the scheme's own."""
        host = _bracketed(self.host)
        return (host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode('ascii')}"


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """An HTTP proxy on the way to Xero. `authorization` is what `Proxy-Authorization` says, if not empty."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"http://{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of value. `allowed` completes the sentence "… must be …"."""

    allowed: str
    read: Callable[[str], T | None]
    secret: bool = False


class TenantLabel(StrEnum):
    """How an organisation appears in metrics."""

    ID = "id"
    HASH = "hash"
    NONE = "none"


class LogLevel(StrEnum):
    """The least important lines that are still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Lines for machines or for people."""

    JSON = "json"
    CONSOLE = "console"


def whole(low: int, high: int) -> Kind[int]:
    """A whole number, both ends included."""

    def read(text: str) -> int | None:
        value = int(text) if _DIGITS.fullmatch(text) else -1
        return value if low <= value <= high else None

    return Kind(f"a whole number from {low} to {high}", read)


def decimal(low: float, high: float) -> Kind[float]:
    """A plain decimal number, both ends included; no exponent, no `nan`, no `inf`."""

    def read(text: str) -> float | None:
        value = float(text) if _DECIMAL.fullmatch(text) else -1.0
        return value if low <= value <= high else None

    return Kind(f"a number from {low:g} to {high:g}", read)


def label(shortest: int) -> Kind[str]:
    """Letters, digits and a few marks that mean nothing to anybody."""
    pattern = re.compile(rf"[A-Za-z0-9._:-]{{{shortest},64}}", re.ASCII)
    allowed = f"{shortest or 'at most'}{' to ' if shortest else ' '}64 letters, digits, `.`, `_`, `:` or `-`"
    return Kind(allowed, lambda text: text if pattern.fullmatch(text) else None)


def choice(names: type[E]) -> Kind[E]:
    """One of an enumeration's values, in any case."""
    values: dict[str, E] = {str(member): member for member in names}
    return Kind("one of " + ", ".join(values), lambda text: values.get(text.lower()))


def without_password(url: str, mask: str) -> str:
    """An address whose parts are plain loses its user and password; any other is masked whole."""
    plain = _PLAIN_ADDRESS.fullmatch(url)
    if plain is None:
        return mask if url else ""
    scheme, login, host, path = plain.groups(default="")
    return f"{scheme}{mask + '@' if login else ''}{host}{path}"


def shown(key: str, value: object, mask: str) -> str:
    """The text of a setting's value, fit to be shown: `mask` stands for what is secret."""
    if key in {"redis_url", "upstream_proxy"}:
        return without_password(str(value), mask)
    match value:
        case bool():
            return str(value).lower()
        case float():
            return format(value, ".15g")
        case tuple():
            return ",".join(value)
        case str() if key == "admin_token":
            return mask if value else ""
        case _:
            return str(value)


def redis_host(url: str) -> str:
    """The host in a Redis address, empty where its parts are not plain."""
    plain = _PLAIN_ADDRESS.fullmatch(url)
    return "" if plain is None else plain[3].rpartition("@")[2].partition(":")[0]


def _read_address(text: str) -> Address | None:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        good = path.startswith("/") and path.isprintable() and len(path.encode()) <= _LONGEST_SOCKET
        return Address(path, 0) if good and Path(path).parent.is_dir() else None
    parts = _host_and_port(text)
    return None if parts is None or parts[1] is None else Address(parts[0], parts[1])


def _read_origin(text: str) -> Origin | None:
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    parts = _host_and_port(rest.removesuffix("/"))
    if scheme not in _PORTS or parts is None or parts[1] == 0:
        return None
    host, port = parts
    return Origin(scheme, host.lower(), _PORTS[scheme] if port is None else port)


def egress_proxy(url: str) -> EgressProxy | None:
    """What `http://user:password@host:port` says, user and password percent-encoded UTF-8; None where it is
    nothing like it. The port is 80 and the password empty where they are not given.
    """
    found = _EGRESS.fullmatch(url)
    parts = None if found is None else _host_and_port(found["where"])
    if found is None or parts is None or parts[1] == 0:
        return None
    (host, port), login = parts, _login(found["login"] or "")
    if login is None:
        return None
    authorization = "Basic " + b64encode(login).decode("ascii") if login else ""
    return EgressProxy(host.lower(), port or _PORTS["http"], authorization)


def _login(text: str) -> bytes | None:
    """User and password as RFC 7617 joins them, empty where there are none, None where they cannot be sent:
    a user with a colon would be read as another, and control characters are not allowed.
    """
    if not text:
        return b""
    user, _, password = text.partition(":")
    if _BAD_PERCENT.search(text) or ":" in unquote(user):
        return None
    login = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    try:
        return None if _CONTROL.search(login.decode("utf-8")) else login
    except UnicodeDecodeError:
        return None


def _host_and_port(text: str) -> tuple[str, int | None] | None:
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        return None
    host, digits = match["host"], match["port"]
    port = None if digits is None else int(digits)
    if port is not None and port > 65535:
        return None
    if host.startswith("["):
        host = host[1:-1]
        return (host, port) if _is_ipv6(host) else None
    return (host, port) if _NAME.fullmatch(host) else None


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return "%" not in host  # a zone means nothing outside this machine and has no place in a Host header


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _read_hosts(text: str) -> tuple[str, ...] | None:
    names = tuple(name.strip().lower() for name in text.split(",")) if text.strip() else ()
    return names if all(_NAME.fullmatch(name.removeprefix(".")) for name in names) else None


def _read_directory(text: str) -> str | None:
    usable = not text or (Path(text).is_dir() and os.access(text, os.W_OK | os.X_OK))
    return text if usable else None


def _read_existing(text: str) -> str | None:
    if not text:
        return text
    path = Path(text)
    return text if path.is_file() and os.access(path, os.R_OK) else None


def _read_file(text: str) -> str | None:
    """Beside the file go others that belong to it, so its directory counts."""
    if not text:
        return text
    path = Path(text)
    try:
        usable = "\0" not in text and (
            not path.exists() or (path.is_file() and os.access(path, os.R_OK | os.W_OK))
        )
    except OSError:  # a name that is too long, a directory that cannot be searched
        return None
    return text if usable and _read_directory(str(path.parent)) else None


ADDRESS = Kind(
    "host:port, an IPv6 host in brackets, the port from 0 (any free one) to 65535, or unix: and the path of "
    f"a socket in a directory that is there, of at most {_LONGEST_SOCKET} bytes",
    _read_address,
)
ORIGIN = Kind("http:// or https:// and a host, with or without a port, and nothing after it", _read_origin)
HOSTS = Kind(
    "names without a port, comma-separated, a dot in front for a whole domain, or empty", _read_hosts
)
FLAG = Kind("true or false", lambda text: _FLAGS.get(text.lower()))
DIRECTORY = Kind("a directory that can be written to, or empty", _read_directory)
EXISTING = Kind("a file that can be read, or empty", _read_existing)
FILE = Kind(
    "a file, new or not, that can be written in a directory that can be written to, or empty", _read_file
)
TOKEN = Kind(
    "printable ASCII without spaces", lambda text: text if _TOKEN.fullmatch(text) else None, secret=True
)
EGRESS = Kind(
    "an http://host:port address, with percent-encoded user:password@ before the host where it wants them,"
    " or empty",
    lambda text: text if not text or egress_proxy(text) else None,
    secret=True,
)
REDIS = Kind(
    "a redis://, rediss:// or unix:// address, or empty",
    lambda text: text if not text or _REDIS.fullmatch(text) else None,
    secret=True,
)
