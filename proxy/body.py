"""A request body that can be sent again.

It is kept whole before the request takes a permit, so that a slow upload never holds one: in memory up to
a size, beyond it in a file without a name. All that is kept in memory at once has a bound too; past it every
body goes to disk whatever its size.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Protocol

from proxy.core.framing import BadFraming
from proxy.flow import Lost
from proxy.spool import PIECE, UnnamedFile

MEMORY_TOTAL = 64 * 1024 * 1024


class Stalled(TimeoutError):
    """Not one byte of the body came for too long."""


class BodyProblem(StrEnum):
    """Why a body was not kept."""

    TOO_LARGE = "too_large"
    GONE = "gone"
    STALLED = "stalled"
    MALFORMED = "malformed"
    STORAGE = "storage"


class Stream(Protocol):
    """Where a body comes from."""

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end. Raises `Lost`, `Stalled` or `BadFraming`."""


class Body:
    """A whole request body. `in_memory` is None where it is on disk."""

    __slots__ = ("_file", "_store", "in_memory", "size")

    def __init__(
        self, store: BodyStore, size: int, in_memory: bytes | bytearray | None, file: UnnamedFile | None
    ) -> None:
        self._store = store
        self._file = file
        self.size = size
        self.in_memory = in_memory

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body from its start; as often as needed. Raises OSError where the disk fails."""
        if self._file is None:
            held = self.in_memory or b""
            for start in range(0, self.size, PIECE):
                yield bytes(held[start : start + PIECE])
            return
        offset = 0
        while offset < self.size:
            piece = await self._file.read(offset)
            if not piece:
                raise OSError("a kept body is shorter than it was")
            offset += len(piece)
            yield piece

    def close(self) -> None:
        """Forget the body and give its memory or disk space back."""
        if self.in_memory is not None:
            self._store.release(self.size)
        self.in_memory = None
        self._file = None


class BodyStore:
    """Keeps request bodies until nobody can need them again.

    `memory_per_body`, `max_bytes` and `memory_total` are bytes; `spool_dir` None means the system's.
    """

    def __init__(
        self,
        memory_per_body: int,
        max_bytes: int,
        spool_dir: str | None = None,
        memory_total: int = MEMORY_TOTAL,
    ) -> None:
        self._memory_per_body = memory_per_body
        self.max_bytes = max_bytes
        self._spool_dir = spool_dir
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
        receipt = _Receipt(self)
        goes_to_disk = declared_length is not None and declared_length > self._memory_per_body
        try:
            while piece := await stream.read():
                if receipt.size + len(piece) > self.max_bytes:
                    return BodyProblem.TOO_LARGE
                receipt.add(piece)
                if self._must_spill(receipt, goes_to_disk=goes_to_disk):
                    await receipt.spill(self._spool_dir)
            return await receipt.body(self._spool_dir)
        except Lost:
            return BodyProblem.GONE
        except Stalled:
            return BodyProblem.STALLED
        except BadFraming:
            return BodyProblem.MALFORMED
        except OSError:
            return BodyProblem.STORAGE
        finally:
            receipt.discard()

    def _must_spill(self, receipt: _Receipt, *, goes_to_disk: bool) -> bool:
        goes_to_disk = goes_to_disk or receipt.file is not None
        bound = min(PIECE, self._memory_per_body) if goes_to_disk else self._memory_per_body
        return receipt.held > bound or self.in_memory > self._memory_total


class _Receipt:
    """A body that is still coming: what of it is in memory, and the file that has the rest."""

    __slots__ = ("_held", "_store", "file", "size")

    def __init__(self, store: BodyStore) -> None:
        self._store = store
        self._held = bytearray()
        self.file: UnnamedFile | None = None
        self.size = 0

    @property
    def held(self) -> int:
        return len(self._held)

    def add(self, piece: bytes) -> None:
        self._held += piece
        self.size += len(piece)
        self._store.in_memory += len(piece)

    async def spill(self, directory: str | None) -> None:
        if self.file is None:
            self.file = UnnamedFile(directory)
        await self.file.write(self._held, self.size - self.held)
        self.discard()

    async def body(self, directory: str | None) -> Body:
        if self.file is None:
            held, self._held = self._held, bytearray()
            # A bytearray has an eighth of its size to spare, which many small bodies would add up.
            return Body(self._store, self.size, bytes(held) if self.size <= PIECE else held, None)
        await self.spill(directory)
        return Body(self._store, self.size, None, self.file)

    def discard(self) -> None:
        self._store.release(self.held)
        self._held = bytearray()
