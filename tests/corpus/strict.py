"""A second opinion on HTTP/1.1 messages: shares no code with the proxy and forgives nothing.

An origin that reads with it sees every request that a sloppier server would see as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(_TOKEN + rb" [\x21\x22\x24-\x7e]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSION = rb"[\t ]*;[\t ]*" + _TOKEN + rb"(?:[\t ]*=[\t ]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*")


class Malformed(ValueError):
    """What is no HTTP, or can be read in two ways."""


class Incomplete(ValueError):
    """What may become a message when more of it comes."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response. `start` is the start line, `fields` are as they came."""

    start: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def method(self) -> bytes:
        """The method of a request."""
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        """The target of a request, without scheme and authority."""
        return re.sub(rb"^https?://[^/?]*", b"", self.start.split(b" ")[1]) or b"/"

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.start.split(b" ")[1])

    def values(self, name: bytes) -> list[bytes]:
        """Every value of the field `name`, given in lower case."""
        return [value for key, value in self.fields if key.lower() == name]


def read_request(data: bytes) -> tuple[Message, bytes]:
    """Read one request; return it and what follows. Raises `Malformed` and `Incomplete`."""
    start, fields, rest = _head(data)
    if _LINE.fullmatch(start) is None:
        raise Malformed("the request line")
    if len([name for name, _ in fields if name.lower() == b"host"]) > 1:
        raise Malformed("more than one Host")
    body, rest = _body(fields, rest)
    return Message(start, fields, body or b""), rest


def read_response(data: bytes, *, head_only: bool = False) -> tuple[Message, bytes]:
    """Read the final response, which `head_only` where it answers HEAD; return it and what follows.

    A body without a length is all the rest. Raises as `read_request`.
    """
    start, fields, rest = _head(data)
    match = _STATUS.fullmatch(start)
    if match is None:
        raise Malformed("the status line")
    if match[1].startswith(b"1"):
        return read_response(rest.lstrip(b"\r\n"), head_only=head_only)
    if head_only or match[1] in {b"204", b"304"}:
        return Message(start, fields, b""), rest
    body, after = _body(fields, rest)
    return Message(start, fields, rest if body is None else body), b"" if body is None else after


def _head(data: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Incomplete("the head")
    start, *lines = head.split(b"\r\n")
    fields = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Malformed("a field line")
        fields.append((field[1], field[2].strip(b"\t ")))
    return start, tuple(fields), rest


def _body(fields: tuple[tuple[bytes, bytes], ...], data: bytes) -> tuple[bytes | None, bytes]:
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    if len(codings) + len(lengths) > 1:
        raise Malformed("the length of the body is told twice")
    if codings:
        if codings[0].lower() != b"chunked":
            raise Malformed("a transfer coding that is not chunked")
        return _chunks(data)
    if not lengths:
        return None, data
    if not lengths[0].isdigit():
        raise Malformed("a length that is no number")
    size = int(lengths[0])
    if len(data) < size:
        raise Incomplete("the body")
    return data[:size], data[size:]


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, data = _line(data)
        match = _SIZE.fullmatch(line)
        if match is None:
            raise Malformed("a chunk's line")
        size = int(match[1], 16)
        if not size:
            return body, _after_trailers(data)
        if len(data) < size + 2:
            raise Incomplete("a chunk")
        if data[size : size + 2] != b"\r\n":
            raise Malformed("the end of a chunk")
        body, data = body + data[:size], data[size + 2 :]


def _after_trailers(data: bytes) -> bytes:
    line, data = _line(data)
    while line:
        if _FIELD.fullmatch(line) is None:
            raise Malformed("a trailer")
        line, data = _line(data)
    return data


def _line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if not end:
        raise Incomplete("a line")
    return line, rest
