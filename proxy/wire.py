"""The only file that touches aiohttp's insides: its C parsers (llhttp), fed with one complete head at a time.

Only heads go through them. Where a body ends is decided in `proxy.core.framing`, because llhttp as aiohttp
configures it for responses is lenient (bare line feeds, folded fields, blanks in chunk sizes), and
because bodies then need no `StreamReader`, no pausing of the parser and no parser per connection: one
parser serves all connections of a side and is replaced after whatever leaves it in another state than the
start. What aiohttp raises quotes the message, so it never leaves this file.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any, NamedTuple

from proxy.core.fields import Fields
from proxy.core.model import Headers
from proxy.core.strict import METHODS, Problem, Refusal, RequestHead

FLOOR = (3, 14, 4)
MAX_HEAD = 64 * 1024
MAX_FIELDS = 200
MAX_REQUEST_FIELD = 8000
"""Bytes of one field line in a request: what servers allow is 8 KiB at most. Responses are not so bound."""
END_OF_HEAD = b"\r\n\r\n"

_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
_FOLD = re.compile(rb"\n[ \t]")
_METHOD = re.compile(rb"[A-Z]+(?:-[A-Z]+)*")
_TEXT = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))


class ResponseHead(NamedTuple):
    """A status line and its fields, as received."""

    status: int
    reason: bytes
    fields: Fields
    keep_alive: bool


def _load_parsers() -> ModuleType | None:
    """aiohttp's C parsers and nothing else of it: its client, and the certificates of all authorities that
    this one loads at once, take a third of the start and of the memory.

    So the package stands in `sys.modules` while its submodule is imported, but is not run.
    """
    found = importlib.util.find_spec("aiohttp")
    if found is None:
        return None
    package = importlib.util.module_from_spec(found)
    empty = sys.modules.setdefault("aiohttp", package) is package
    try:
        return importlib.import_module("aiohttp._http_parser")
    except ImportError:
        return None
    finally:
        if empty:
            del sys.modules["aiohttp"]


_parsers = _load_parsers()


def check_aiohttp() -> None:
    """Raise RuntimeError unless aiohttp is new enough and has its C parser.

    The pure Python one accepts framing that the C parser refuses.
    """
    found = version("aiohttp")
    if tuple(int(part) for part in re.findall(r"\d+", found)[:3]) < FLOOR:
        raise RuntimeError(f"aiohttp {found} is too old: {'.'.join(map(str, FLOOR))} is needed")
    if _parsers is None:
        raise RuntimeError("aiohttp was installed without its C parser: install a binary wheel")


class Heads:
    """Parses heads, one complete head at a time."""

    __slots__ = ("_kind", "_parser")

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._parser: Any = None

    @classmethod
    def of_requests(cls) -> Heads:
        """Return a parser of request heads."""
        return cls("HttpRequestParser")

    @classmethod
    def of_responses(cls) -> Heads:
        """Return a parser of response heads."""
        return cls("HttpResponseParser")

    def request(self, head: bytes) -> RequestHead | Problem:
        """Return the parsed request, or why it is none."""
        if problem := _head_problem(head) or _field_problem(head):
            return problem
        line = head[: head.index(b"\r\n")]
        if not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
            kind = Refusal.VERSION if re.search(rb" HTTP/[0-9]\.[0-9]$", line) else Refusal.MALFORMED
            return Problem(kind, "The request line does not end with HTTP/1.1 or HTTP/1.0.")
        message = self._parse(head) if line.count(b" ") == 2 else None
        if message is None:
            method = line.partition(b" ")[0]
            if _METHOD.fullmatch(method) and method.decode() not in METHODS:
                return Problem(Refusal.METHOD, "This method is not forwarded.")
            return Problem(Refusal.MALFORMED, "The head of the request is not well-formed HTTP.")
        return RequestHead(
            message.method,
            message.path.encode("utf-8", "surrogateescape"),
            Fields(message.raw_headers),
            line.endswith(b"0"),
            not message.should_close,
            bool(message.upgrade),
        )

    def response(self, head: bytes) -> ResponseHead | None:
        """Return the parsed response, or None where it is not well-formed HTTP/1.x."""
        if _head_problem(head) or not head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            return None
        message = self._parse(head)
        if message is None:
            return None
        return ResponseHead(
            message.code,
            message.reason.encode("utf-8", "surrogateescape"),
            Fields(message.raw_headers),
            not message.should_close,
        )

    def _parse(self, head: bytes) -> Any:
        parser = self._parser
        if parser is None:
            parser = getattr(_parsers, self._kind)(
                None,
                None,
                MAX_HEAD,
                max_line_size=MAX_HEAD,
                max_headers=MAX_FIELDS,
                max_field_size=MAX_HEAD,
                response_with_body=False,
                auto_decompress=False,
            )
        self._parser = None
        try:
            messages, upgraded, _ = parser.feed_data(head)
        except Exception:  # noqa: BLE001 - whatever aiohttp raises, it means that this is no HTTP
            return None
        if len(messages) != 1:
            return None
        message = messages[0][0]
        if not (upgraded or message.upgrade or message.should_close):
            self._parser = parser
        return message


def _head_problem(head: bytes) -> Problem | None:
    controls = head.translate(None, _TEXT)
    lines = len(controls) // 2
    if len(head) > MAX_HEAD or lines > MAX_FIELDS + 2:
        return Problem(
            Refusal.HEAD_TOO_LARGE,
            f"The head may hold {MAX_FIELDS} fields and {MAX_HEAD} bytes at most.",
        )
    if controls != b"\r\n" * lines or head.count(b"\r\n") != lines:
        return Problem(
            Refusal.MALFORMED, "The head holds control bytes or a line that does not end with CR LF."
        )
    if _FOLD.search(head):
        return Problem(Refusal.MALFORMED, "A field is folded over several lines.")
    return None


def _field_problem(head: bytes) -> Problem | None:
    if len(head) > MAX_REQUEST_FIELD and max(map(len, head.split(b"\r\n")[1:])) > MAX_REQUEST_FIELD:
        return Problem(Refusal.HEAD_TOO_LARGE, f"A field may have {MAX_REQUEST_FIELD} bytes at most.")
    return None


def without_empty_lines(data: bytes) -> bytes:
    """`data` without the empty lines that may stand before a start line (RFC 9112, section 2.2)."""
    return _EMPTY_LINES.sub(b"", data) if data.startswith(b"\r\n") else data


def partial_head_problem(data: bytes) -> Problem | None:
    """Why the beginning of a request head can never become a good one, as far as that is plain already."""
    if len(data) > MAX_HEAD:
        return Problem(Refusal.HEAD_TOO_LARGE, f"The head may hold {MAX_HEAD} bytes at most.")
    if data.count(b"\n") != data.count(b"\r\n") or (data[:1].isspace() and data != b"\r"):
        return Problem(Refusal.MALFORMED, "The head of the request is not well-formed HTTP.")
    return None


def response_head(status: int, reason: bytes, headers: Headers, framing: bytes) -> bytes:
    """The bytes of a response head; `framing` holds what only the connection knows, and the end."""
    parts = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(framing)
    return b"".join(parts)
