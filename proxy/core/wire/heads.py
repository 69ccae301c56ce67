"""Heads of HTTP/1.1 requests (RFC 9112), parsed strictly and in one pass over their lines, and of answers as
they are written.

Whatever two readers could understand in two ways is refused: control bytes, lines that do not end with CR LF,
folded fields, blanks before a colon, names that are no tokens. Nothing is repaired.

The same few lines come again and again, so those that hold no secret are remembered. A program sends all of
its fields again and again, its token among them: what was read of them is kept for its next request, but
not of requests with a body, for `BLOCKS_KEPT` at most, and only while some caller is connected.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus

from proxy.core.model import Headers
from proxy.core.wire.fields import Fields
from proxy.core.wire.strict import METHODS, Problem, Refusal, RequestHead

MAX_HEAD = 64 * 1024
MAX_FIELDS = 200
MAX_REQUEST_FIELD = 8000
"""Bytes of one field line in a request: what servers allow is 8 KiB at most."""
END_OF_HEAD = b"\r\n\r\n"
LINES_KEPT = 4096
LINE_KEPT_BYTES = 256
BLOCKS_KEPT = 512
BLOCK_KEPT_BYTES = 4096
BLOCK_KEPT_FIELDS = 40

_REMEMBERED = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"transfer-encoding",
        b"user-agent",
        b"xero-tenant-id",
    },
)
"""Fields that hold no secret and whose lines repeat."""

_OF_ONE_REQUEST = (b"content-length", b"transfer-encoding", b"idempotency-key")
"""Where one of these stands, the same fields will hardly come again."""

_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
_METHODS = {method.encode(): method for method in METHODS}
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_VERSION_ENDS = tuple(b" " + version for version in _VERSIONS)
_TOO_LARGE = Problem(
    Refusal.HEAD_TOO_LARGE, f"The head may hold {MAX_FIELDS} fields and {MAX_HEAD} bytes at most."
)
_OTHER_VERSION = re.compile(rb".* HTTP/[0-9]\.[0-9]", re.DOTALL)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TEXT = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_WITHOUT_CONTROLS = bytes(byte if byte in _TEXT else 0x3F for byte in range(256))


class Lines:
    """Reads field lines, and remembers `LINES_KEPT` of those that repeat. `blocks` holds what was read of all
    lines of a head.
    """

    __slots__ = ("_known", "blocks")

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, tuple[bytes, bytes]]] = {}
        self.blocks: dict[bytes, Fields] = {}

    def keep(self, block: bytes, fields: Fields) -> None:
        """Keep what was read of a request's fields."""
        large = len(block) > BLOCK_KEPT_BYTES or len(fields.raw) > BLOCK_KEPT_FIELDS
        if large or not fields.keys().isdisjoint(_OF_ONE_REQUEST):
            return
        if len(self.blocks) >= BLOCKS_KEPT:
            self.blocks.clear()
        self.blocks[block] = fields

    def fields(self, texts: list[bytes]) -> Fields | None:
        """The fields that these lines hold, or None where one of them is malformed."""
        known = self._known
        raw: list[tuple[bytes, bytes]] = []
        first: dict[bytes, bytes] = {}
        for text in texts:
            line = known.get(text) or self._read(text)
            if line is None:
                return None
            name, field = line
            raw.append(field)
            first.setdefault(name, field[1])
        return Fields(tuple(raw), first)

    def _read(self, text: bytes) -> tuple[bytes, tuple[bytes, bytes]] | None:
        """A field's name in lower case, and name and value as they were written."""
        name, colon, value = text.partition(b":")
        folded = _folded(name)
        if folded is None or not colon or value.translate(_WITHOUT_CONTROLS) != value:
            return None
        line = folded, (name, value.strip(b" \t"))
        if folded in _REMEMBERED and len(text) <= LINE_KEPT_BYTES:
            if len(self._known) >= LINES_KEPT:
                self._known.clear()
            self._known[text] = line
        return line


def read_request(head: bytes, lines: Lines) -> RequestHead | Problem:
    """The request whose head, up to the empty line at its end, is `head`; or why it is none."""
    start, _, block = head.partition(b"\r\n")
    fields = lines.blocks.get(block)
    if fields is None:
        found = _request_fields(block, lines) if len(head) <= MAX_HEAD else _TOO_LARGE
        if isinstance(found, Problem):
            return found
        fields = found
    method, target, version = parts if len(parts := start.split(b" ")) == 3 else (b"", b"", b"")
    known = _METHODS.get(method)
    if known is None or version not in _VERSIONS:
        return _start_problem(start)
    http10 = version == b"HTTP/1.0"
    keep_alive, upgrade = _connection(fields, http10=http10)
    return RequestHead(known, target, fields, http10, keep_alive, upgrade)


def _request_fields(block: bytes, lines: Lines) -> Fields | Problem:
    texts = block[: -len(b"\r\n")].split(b"\r\n")[:-1]
    if len(texts) > MAX_FIELDS:
        return _TOO_LARGE
    if len(block) > MAX_REQUEST_FIELD and max(map(len, texts), default=0) > MAX_REQUEST_FIELD:
        return Problem(Refusal.HEAD_TOO_LARGE, f"A field may have {MAX_REQUEST_FIELD} bytes at most.")
    fields = lines.fields(texts)
    if fields is None:
        return Problem(Refusal.MALFORMED, "The head holds a line that is no field, or control bytes.")
    lines.keep(block, fields)
    return fields


def _start_problem(start: bytes) -> Problem:
    if start.translate(_WITHOUT_CONTROLS) != start:
        return Problem(Refusal.MALFORMED, "The request line holds control bytes.")
    if not start.endswith(_VERSION_ENDS):
        kind = Refusal.VERSION if _OTHER_VERSION.fullmatch(start) else Refusal.MALFORMED
        return Problem(kind, "The request line does not end with HTTP/1.1 or HTTP/1.0.")
    method = start.partition(b" ")[0]
    if _TOKEN.fullmatch(method) and method not in _METHODS:
        return Problem(Refusal.METHOD, "This method is not forwarded.")
    return Problem(Refusal.MALFORMED, "The request line is not well-formed HTTP.")


def _connection(fields: Fields, *, http10: bool) -> tuple[bool, bool]:
    """Whether the sender wants to keep the connection, and whether it wants another protocol."""
    if b"connection" not in fields:
        return not http10, False
    options = _options(b",".join(fields.every(b"connection")))
    keep_alive = b"close" not in options and (not http10 or b"keep-alive" in options)
    return keep_alive, b"upgrade" in options and b"upgrade" in fields


@lru_cache(maxsize=32)
def _options(connection: bytes) -> frozenset[bytes]:
    return frozenset(option.strip(b" \t") for option in connection.lower().split(b","))


@lru_cache(maxsize=1024)
def _folded(name: bytes) -> bytes | None:
    """A field's name in lower case, None where it is no token."""
    return name.lower() if _TOKEN.fullmatch(name) else None


def bodiless(data: bytes | bytearray) -> str:
    """`HEAD` where a request begins so: no answer to it has a body, whatever else is wrong with it."""
    return "HEAD" if data.startswith(b"HEAD ") else ""


class Incoming:
    """Bytes of requests that wait until they are read: the beginning of a head, and what is pipelined.

    Every byte is looked at a bounded number of times, in however small pieces they come.
    """

    __slots__ = ("_looked", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._looked = 0

    def clear(self) -> None:
        """Forget all."""
        self.data.clear()
        self._looked = 0

    def take(self) -> bytes:
        """Everything; nothing is left."""
        taken = bytes(self.data)
        self.clear()
        return taken

    def head(self) -> bytes | Problem | None:
        """Take a whole head, up to the empty line at its end; None where more of it must come first, a
        problem where no more could make it good.
        """
        data = self.data
        if empty := _EMPTY_LINES.match(data):
            del data[: empty.end()]
            self._looked = 0
        looked, self._looked = self._looked, len(data)
        end = data.find(END_OF_HEAD, max(0, looked - len(END_OF_HEAD) + 1))
        if end < 0:
            return self._problem(looked)
        end += len(END_OF_HEAD)
        head = bytes(data[:end])
        del data[:end]
        self._looked = 0
        return head

    def _problem(self, looked: int) -> Problem | None:
        """Why this can never become a good head, as far as that is plain already."""
        data = self.data
        if len(data) > MAX_HEAD:
            return Problem(Refusal.HEAD_TOO_LARGE, f"The head may hold {MAX_HEAD} bytes at most.")
        bare = data.count(b"\n", looked) != data.count(b"\r\n", max(0, looked - 1))
        if bare or (data[:1].isspace() and data != b"\r"):
            return Problem(Refusal.MALFORMED, "The head of the request is not well-formed HTTP.")
        return None


def reason_phrase(status: int) -> bytes:
    """What RFC 9110 calls a status."""
    return HTTPStatus(status).phrase.encode()


def response_head(status: int, reason: bytes, headers: Headers, framing: bytes) -> bytes:
    """The bytes of a response head; `framing` holds what only the connection knows, and the end."""
    start = b"HTTP/1.1 %d %b" % (status, reason)
    return b"\r\n".join([start, *map(b": ".join, headers), framing])
