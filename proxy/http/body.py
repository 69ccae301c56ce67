"""A request body that can be sent again.

It is kept whole before the request takes a permit, so that a slow upload never holds one: in memory up to
a size, beyond it in a file without a name. All that is kept in memory at once has a bound too; past it every
body goes to disk whatever its size.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from enum import StrEnum
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Protocol

from proxy.core.wire.framing import BadFraming
from proxy.http.flow import Lost
from proxy.http.spool import PIECE, OnDisk, SpoolFile

MEMORY_TOTAL = 64 * 1024 * 1024
HEAP = 64 * 1024
"""More than so many bytes in memory have pages of their own; so many at once are given to a connection, which
copies what it cannot send.
"""


class Stalled(TimeoutError):
    """Not one byte of the body came for too long."""


class Late(Stalled):
    """The body was not there before its request's deadline."""


class BodyProblem(StrEnum):
    """Why a body was not kept."""

    TOO_LARGE = "too_large"
    GONE = "gone"
    STALLED = "stalled"
    LATE = "late"
    MALFORMED = "malformed"
    STORAGE = "storage"


class Stream(Protocol):
    """Where a body comes from."""

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end. Raises `Lost`, `Stalled` or `BadFraming`."""


class Body:
    """A whole request body. `in_memory` is None where it is on disk."""

    __slots__ = ("_disk", "_store", "in_memory", "size")

    def __init__(
        self, store: BodyStore, size: int, in_memory: bytes | memoryview | None, disk: OnDisk | None
    ) -> None:
        self._store = store
        self._disk = disk
        self.size = size
        self.in_memory = in_memory

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the body from its start; as often as needed. Raises OSError where the disk fails."""
        if self._disk is None:
            held = memoryview(self.in_memory or b"")
            for start in range(0, self.size, HEAP):
                yield held[start : start + HEAP]
            return
        offset = 0
        while offset < self.size:
            piece = await self._disk.read(offset)
            offset += len(piece)
            yield piece
            del piece  # or it stays until the next one is there

    def close(self) -> None:
        """Forget the body and give its memory or disk space back."""
        if self.in_memory is not None:
            self._store.release(self.size)
        if self._disk is not None:
            self._disk.close()
        self.in_memory = None
        self._disk = None


class BodyStore:
    """Keeps request bodies until nobody can need them again.

    `memory_per_body`, `max_bytes` and `memory_total` are bytes; what goes to disk goes into `spool`.
    """

    def __init__(
        self,
        memory_per_body: int,
        max_bytes: int,
        spool: SpoolFile | None = None,
        memory_total: int = MEMORY_TOTAL,
    ) -> None:
        self._memory_per_body = memory_per_body
        self.max_bytes = max_bytes
        self._spool = spool or SpoolFile()
        self._memory_total = memory_total
        self.in_memory = 0
        """Bytes of bodies, whole and partial, that are in memory now."""

    def release(self, size: int) -> None:
        """Take `size` bytes off the account of memory."""
        self.in_memory -= size

    async def keep(self, stream: Stream, declared_length: int | None) -> Body | BodyProblem:
        """Read `stream` to its end. A declared length over the limit is refused before anything is read."""
        if declared_length is not None and declared_length > self.max_bytes:
            return BodyProblem.TOO_LARGE
        receipt = _Receipt(self, self._memory_per_body, self._spool)
        goes_to_disk = declared_length is not None and declared_length > self._memory_per_body
        try:
            while piece := await stream.read():
                if receipt.size + len(piece) > self.max_bytes:
                    return BodyProblem.TOO_LARGE
                if receipt.held + len(piece) > self._bound(receipt, goes_to_disk=goes_to_disk):
                    await receipt.spill()
                receipt.add(piece)
                del piece  # or it stays until the next one has come
                if self.in_memory > self._memory_total:
                    await receipt.spill()
            return await receipt.body()
        except Lost:
            return BodyProblem.GONE
        except Stalled as stalled:
            return BodyProblem.LATE if isinstance(stalled, Late) else BodyProblem.STALLED
        except BadFraming:
            return BodyProblem.MALFORMED
        except OSError:
            return BodyProblem.STORAGE
        finally:
            receipt.close()

    def _bound(self, receipt: _Receipt, *, goes_to_disk: bool) -> int:
        goes_to_disk = goes_to_disk or receipt.disk is not None
        return min(PIECE, self._memory_per_body) if goes_to_disk else self._memory_per_body


class _Receipt:
    """A body that is still coming: what of it is in memory, and the rest on disk.

    Pages of its own are taken one by one as they fill and all go back at once, where a heap copies what grows
    and keeps much of what it is given back.
    """

    __slots__ = ("_buffer", "_pages", "_room", "_spool", "_store", "disk", "held", "size")

    def __init__(self, store: BodyStore, room: int, spool: SpoolFile) -> None:
        self._store = store
        self._room = room
        self._spool = spool
        self._buffer = bytearray()
        self._pages: mmap | None = None
        self.disk: OnDisk | None = None
        self.held = 0
        """Bytes in memory; at most `room` until something is on disk."""
        self.size = 0

    def add(self, piece: bytes) -> None:
        end = self.held + len(piece)
        if self._pages is None and self.disk is None and end > HEAP:
            self._pages = mmap(-1, self._room, MAP_PRIVATE | MAP_ANONYMOUS)
            self._pages.write(self._buffer)
            self._buffer = bytearray()
        if self._pages is None:
            self._buffer += piece
        else:
            self._pages.write(piece)
        self.held = end
        self.size += len(piece)
        self._store.in_memory += len(piece)

    async def spill(self) -> None:
        if self.disk is None:
            self.disk = OnDisk(self._spool)
        if self.held:
            await self.disk.append(self._in_memory())
            self.discard()

    async def body(self) -> Body:
        if self.disk is not None:
            await self.spill()
            disk, self.disk = self.disk, None
            return Body(self._store, self.size, None, disk)
        held = self._in_memory()
        self.held = 0
        # A bytearray has an eighth of its size to spare, which many small bodies would add up.
        return Body(self._store, self.size, held if self._pages else bytes(held), None)

    def close(self) -> None:
        """Forget what is no body."""
        self.discard()
        if self.disk is not None:
            self.disk.close()

    def discard(self) -> None:
        self._store.release(self.held)
        self.held = 0
        self._buffer = bytearray()
        self._pages = None

    def _in_memory(self) -> memoryview:
        return memoryview(self._pages or self._buffer)[: self.held]
