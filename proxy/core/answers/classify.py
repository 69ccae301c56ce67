"""What a response means: the first row of the response table that fits it.

Status first, then headers, then the first bytes of the body as they are on the wire. Nothing is decoded:
Xero answers in JSON, XML, HTML, form encoding and plain text, with whatever Content-Type, so a body is
only searched for words. Of a compressed one the same few bytes are inflated and no more.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.model import ResponseClass
from proxy.core.wire.fields import Fields

BODY_BYTES = 4096
"""How much of a body is searched. Xero's own words stand at its beginning."""

_GZIP_OR_ZLIB = zlib.MAX_WBITS + 32


@dataclass(frozen=True, slots=True)
class Match:
    """A row's conditions beyond the status; all must hold.

    `headers` pairs a lower-case name with a pattern that one of its values must match as a whole; `body`
    holds words in lower case of which one must stand in the first `BODY_BYTES`; `apis` are API families;
    `kept` asks for a connection that had carried another request. Empty fits everything.
    """

    headers: tuple[tuple[bytes, re.Pattern[bytes]], ...] = ()
    body: tuple[bytes, ...] = ()
    apis: frozenset[str] = frozenset()
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its class, and its conditions where the status alone does not decide."""

    response: ResponseClass
    match: Match | None = None


@dataclass(frozen=True, slots=True)
class ResponseTable:
    """The response table, ready to be asked.

    `rows` are tried in order, the one without conditions last. `hundreds` are the classes of unlisted
    statuses by their first digit, `garbage` that of statuses no HTTP response ends with, `named` the
    classes of failures.
    """

    rows: Mapping[int, tuple[Row, ...]]
    hundreds: Mapping[int, ResponseClass]
    garbage: ResponseClass
    named: Mapping[str, ResponseClass]


def classify(
    table: ResponseTable, status: int, fields: Fields, first: bytes, api: str, *, kept: bool = False
) -> ResponseClass:
    """The class of a response to a request of the family `api`; `first` begins its body, and `kept` is True
    where the connection had carried another request before. Never raises.
    """
    for row in table.rows.get(status, ()):
        if row.match is None or ((kept or not row.match.kept) and _fits(row.match, fields, first, api)):
            return row.response
    return table.hundreds.get(status // 100, table.garbage)


def foresee(
    table: ResponseTable, status: int, fields: Fields, first: bytes, api: str
) -> ResponseClass | None:
    """The class of a response of whose body only `first` has come; None where the rest may decide, or what
    its connection carried before.
    """
    for row in table.rows.get(status, ()):
        match = row.match
        if match is None or (not match.kept and _fits(match, fields, first, api)):
            return row.response
        undecided = match.kept or (match.body and len(beginning(fields, first)) < BODY_BYTES)
        if undecided and _fits_head(match, fields, api):
            return None
    return table.hundreds.get(status // 100, table.garbage)


def failure_class(table: ResponseTable, name: str) -> ResponseClass:
    """The class of a failed attempt by its name in the table."""
    return table.named[name]


def _fits_head(match: Match, fields: Fields, api: str) -> bool:
    if match.apis and api not in match.apis:
        return False
    for name, pattern in match.headers:
        if not any(pattern.fullmatch(value.strip()) for value in fields.every(name)):
            return False
    return True


def _fits(match: Match, fields: Fields, first: bytes, api: str) -> bool:
    if not _fits_head(match, fields, api):
        return False
    if not match.body:
        return True
    text = beginning(fields, first).lower()
    return any(words in text for words in match.body)


def beginning(fields: Fields, first: bytes) -> bytes:
    """The first `BODY_BYTES` of a body, readable where its coding is one of the standard library's."""
    coding = b"".join(fields.every(b"content-encoding")).strip().lower()
    if coding not in {b"gzip", b"x-gzip", b"deflate"}:
        return first[:BODY_BYTES]
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(first, BODY_BYTES)
    except zlib.error:
        return b""
