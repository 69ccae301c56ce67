"""A response of Xero's, as far as it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.core.answers.classify import BODY_BYTES
from proxy.core.wire.fields import Fields
from proxy.core.wire.framing import BadFraming
from proxy.http.flow import Inflow
from proxy.http.spool import Spool, SpoolFile

BEGINNING_BYTES = 2 * BODY_BYTES
"""So much of a body is looked at while it comes: enough to classify it, were it compressed to no effect."""

Heard = Callable[[int, Fields, bytes, float], bool | None]
"""Told the status, the fields, the beginning of the body and when the head was read, while an answer comes.
None asks for more of the body, True for what there is of the response, False for all as ever.
"""


class Truncated(ConnectionError):
    """Upstream was cut before the end of the body."""


class Response:
    """Head and first bytes of a response; the rest follows by `read` where it is not `complete`.

    `first` is the whole body if that came within 64 KiB, otherwise its beginning. `head_at` is the clock's
    time when the head was read; `length` is what Content-Length says, even without a body (HEAD, 304).
    `truncated` is True once a reader has come to where upstream was cut.
    """

    __slots__ = (
        "_ahead",
        "_drop",
        "_file",
        "_inflow",
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
        inflow: Inflow | None = None,
        drop: Callable[[], None] | None = None,
        file: SpoolFile | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.first = first
        self.complete = inflow is None
        self.head_at = head_at
        self.kept = False
        """Whether the connection had carried another request before."""
        self.length = length
        self.truncated = False
        self._inflow = inflow
        self._drop = drop
        self._file = file
        self._spool: Spool | None = None
        self._ahead: asyncio.Task[None] | None = None

    def read_ahead(self, ended: Callable[[bool], None]) -> None:
        """Take the body from upstream as fast as it comes, at whatever pace it is read, while disk has room.

        `ended` is called once: with True when upstream has delivered everything, with False when it was cut.
        Only for a response that is not `complete`.
        """
        if self._inflow is None or self._file is None:
            raise RuntimeError("a complete response has nothing to read ahead")
        if self._inflow.ended or self._inflow.failed:
            ended(not self._inflow.failed)
        else:
            self._inflow.on_end = ended
        self._spool = Spool(self._file)
        self._inflow.divert = self._spool.offer
        self._ahead = asyncio.get_running_loop().create_task(_fill(self._inflow, self._spool))

    async def read(self) -> bytes | memoryview:
        """Return the next bytes after `first`, empty at the end. Raises `Truncated` when upstream was cut."""
        if self._inflow is None:
            return b""
        try:
            return await (self._inflow.read() if self._spool is None else self._spool.get())
        except (BadFraming, OSError) as error:
            self.truncated = True
            raise Truncated from error

    def close(self) -> None:
        """Let go of what was not read, and of the upstream connection unless everything has come already.

        What is being read ahead is still read to its end, and thrown away: a call is in progress at Xero
        until then, and one that is dropped here may go on there beside the one that takes its place.
        """
        if self._spool is not None:
            self._spool.close()
        elif self._inflow is not None:
            if not self._inflow.ended and self._drop is not None:
                self._drop()
            self._inflow.fail(Truncated())


async def _fill(inflow: Inflow, spool: Spool) -> None:
    try:
        while piece := await inflow.read():
            await spool.put(piece)
            del piece  # or it stays until the next one has come
    except (BadFraming, OSError) as error:
        spool.end(error)
    except BaseException:  # nobody will take the rest
        inflow.fail(Truncated())
        spool.end(Truncated())
        raise
    else:
        spool.end()
