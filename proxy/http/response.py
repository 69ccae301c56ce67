"""A response of Xero's, as far as it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxy.core.answers.classify import BODY_BYTES
from proxy.core.wire.fields import Fields
from proxy.http.spool import Spool, SpoolFile

BEGINNING_BYTES = 2 * BODY_BYTES
"""So much of a body is looked at while it comes: enough to classify it, were it compressed to no effect."""

Heard = Callable[[int, Fields, bytes, float], bool | None]
"""Told the status, the fields, the beginning of the body and when the head was read, while an answer comes.
None asks for more of the body, True for what there is of the response, False for all as ever.
"""


class Truncated(ConnectionError):
    """Upstream was cut before the end of the body."""


class Rest(Protocol):
    """What is still to come of a body."""

    async def read(self) -> bytes:
        """The next bytes, empty at the end. Raises `Truncated`."""

    def drop(self) -> None:
        """End the connection, unless all has come."""


class Response:
    """Head and first bytes of a response; the rest follows by `read` where it is not `complete`.

    `first` is the whole body if that came within 64 KiB, otherwise its beginning. `head_at` is the clock's
    time when the head was read; `length` is what Content-Length says, even without a body (HEAD, 304).
    `kept` says whether the connection had carried another request before. `truncated` is True once a reader
    has come to where upstream was cut.
    """

    __slots__ = (
        "_ahead",
        "_file",
        "_rest",
        "_spool",
        "complete",
        "fields",
        "first",
        "head_at",
        "kept",
        "length",
        "reason",
        "status",
        "truncated",
    )

    def __init__(
        self,
        status: int,
        reason: bytes,
        fields: Fields,
        first: bytes,
        length: int | None,
        head_at: float,
        rest: Rest | None = None,
        file: SpoolFile | None = None,
        *,
        kept: bool = False,
    ) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.first = first
        self.complete = rest is None
        self.head_at = head_at
        self.kept = kept
        self.length = length
        self.truncated = False
        self._rest = rest
        self._file = file
        self._spool: Spool | None = None
        self._ahead: asyncio.Task[None] | None = None

    def read_ahead(self, ended: Callable[[], None]) -> None:
        """Take the body from upstream as fast as it comes, at whatever pace it is read, while disk has room.

        `ended` is called once, when upstream has delivered everything or was cut. Only for a response that
        is not `complete`.
        """
        if self._rest is None or self._file is None:
            raise RuntimeError("a complete response has nothing to read ahead")
        self._spool = Spool(self._file)
        self._ahead = asyncio.get_running_loop().create_task(_fill(self._rest, self._spool, ended))

    async def read(self) -> bytes | memoryview:
        """Return the next bytes after `first`, empty at the end. Raises `Truncated` when upstream was cut."""
        if self._rest is None:
            return b""
        try:
            return await (self._rest.read() if self._spool is None else self._spool.get())
        except OSError as error:
            self.truncated = True
            raise Truncated from error

    def close(self) -> None:
        """Let go of what was not read, and of the upstream connection unless everything has come already.

        What is being read ahead is still read to its end, and thrown away: a call is in progress at Xero
        until then, and one that is dropped here may go on there beside the one that takes its place.
        """
        if self._spool is not None:
            self._spool.close()
        elif self._rest is not None:
            self._rest.drop()


async def _fill(rest: Rest, spool: Spool, ended: Callable[[], None]) -> None:
    try:
        while piece := await rest.read():
            await spool.put(piece)
            del piece  # or it stays until the next one has come
    except OSError as error:
        spool.end(error)
    except BaseException:  # nobody will take the rest
        rest.drop()
        spool.end(Truncated())
        raise
    else:
        spool.end()
    finally:
        ended()
