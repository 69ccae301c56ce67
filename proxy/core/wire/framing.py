"""Where the body of an HTTP/1.1 message ends (RFC 9112, section 6), decided strictly.

The sender's framing is read here and never copied: what leaves the proxy is framed anew. Bare line
feeds, blanks around a chunk size, malformed extensions and a request's trailers that frame or route are
refused, because two readers that disagree about them see two different messages. Other extensions and
trailers are dropped.
"""

from __future__ import annotations

import re

from proxy.core.wire.fields import Fields

MAX_CHUNK_LINE = 256
MAX_TRAILERS = 8 * 1024
MAX_SIZE_DIGITS = 15

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]+)(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*",
)
_TRAILER = re.compile(rb"(" + _TOKEN + rb"):[\t\x20-\x7e\x80-\xff]*")
_NOT_IN_TRAILERS = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"te",
        b"transfer-encoding",
    },
)


class BadFraming(ValueError):
    """The body breaks the rules of its framing. The message never quotes what was received."""


class Counted:
    """A body of exactly `left` bytes."""

    __slots__ = ("left",)

    def __init__(self, length: int) -> None:
        self.left = length

    @property
    def done(self) -> bool:
        """Whether the whole body was fed."""
        return not self.left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the part of `data` that belongs to the body, and what follows the message."""
        size = len(data)
        if size <= self.left:
            self.left -= size
            return data, b""
        cut, self.left = self.left, 0
        return data[:cut], data[cut:]


class Chunked:
    """A body in the chunked transfer coding."""

    __slots__ = ("_after_data", "_held", "_last", "_left", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._held = b""
        self._left = 0
        self._after_data = False
        self._last = False
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the decoded bytes in `data`, and what follows the message. Raises `BadFraming`."""
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self.done and at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._after_data = not self._left
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._hold(data[at:])
                return b"".join(pieces), b""
            self._line(data[at:end])
            at = end + 2
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), data[at:]

    def _hold(self, partial: bytes) -> None:
        if b"\n" in partial or len(partial) > MAX_CHUNK_LINE:
            raise BadFraming("a chunk's line does not end where it must")
        if self._after_data and partial != b"\r":
            raise BadFraming("a chunk is longer than its size says")
        self._held = partial

    def _line(self, line: bytes) -> None:
        if self._after_data:
            if line:
                raise BadFraming("a chunk is longer than its size says")
            self._after_data = False
        elif self._last:
            self._trailer(line)
        else:
            match = _CHUNK_LINE.fullmatch(line) if len(line) <= MAX_CHUNK_LINE else None
            if match is None or len(match[1]) > MAX_SIZE_DIGITS:
                raise BadFraming("a chunk's size is malformed")
            self._left = int(match[1], 16)
            self._last = not self._left

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailers += len(line)
        field = _TRAILER.fullmatch(line)
        if self._trailers > MAX_TRAILERS or field is None:
            raise BadFraming("the trailers are malformed or too long")
        if field[1].lower() in _NOT_IN_TRAILERS:
            raise BadFraming("a trailer belongs into the head")


Framing = Counted | Chunked


def has_no_body(method: str, status: int) -> bool:
    """Whether a response ends with its head, whatever that announces (RFC 9112, 6.3)."""
    return method == "HEAD" or status in (204, 304)


def response_length(method: str, status: int, fields: Fields) -> tuple[int | None, bool]:
    """The length that a response declares, also where it has no body; and whether its body ends with its
    connection.

    Raises `BadFraming` where two readers could disagree: a repeated length, a length beside a transfer
    coding, or a coding other than `chunked`.
    """
    length: int | None = None
    if b"content-length" in fields:
        lengths = fields.every(b"content-length")
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_SIZE_DIGITS:
            raise BadFraming("Content-Length is malformed or repeated")
        length = int(lengths[0])
    chunked = b"transfer-encoding" in fields
    if chunked and [coding.lower() for coding in fields.every(b"transfer-encoding")] != [b"chunked"]:
        raise BadFraming("Transfer-Encoding is not exactly chunked")
    if chunked and length is not None:
        raise BadFraming("Content-Length stands beside Transfer-Encoding")
    return length, length is None and not chunked and not has_no_body(method, status)
