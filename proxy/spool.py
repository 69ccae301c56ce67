"""The read-ahead of a slow caller's response: a queue that goes on on disk."""

from __future__ import annotations

import asyncio
from collections import deque

from proxy.disk import OnDisk, SpoolFile

MEMORY = 256 * 1024


class Spool:
    """A queue of bytes: up to `MEMORY` in memory, the rest in `file`. One writer, one reader.

    Where nothing can be written to disk the writer waits for the reader: slower, and nothing is lost.
    """

    __slots__ = (
        "_changed",
        "_closed",
        "_disk",
        "_ended",
        "_error",
        "_file",
        "_pieces",
        "_putting",
        "_read",
        "_size",
    )

    def __init__(self, file: SpoolFile) -> None:
        self._file = file
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._disk: OnDisk | None = None
        self._read = 0
        self._error: Exception | None = None
        self._ended = self._closed = self._putting = False
        self._changed = asyncio.Event()

    async def put(self, piece: bytes) -> None:
        """Add bytes; returns when they are kept."""
        if self.offer(piece):
            return
        self._putting = True
        try:
            await self._put_on_disk(piece)
        finally:
            self._putting = False

    def offer(self, piece: bytes) -> bool:
        """Add bytes where that takes no time; whether it did."""
        if self._putting or not (self._closed or (self._disk is None and self._size < MEMORY)):
            return False
        self._keep(piece)
        return True

    async def _put_on_disk(self, piece: bytes) -> None:
        disk = self._disk = self._disk or OnDisk(self._file)
        try:
            await disk.append(piece)
        except OSError:
            while not self._emptied():
                await self._wait()
            self._keep(piece)
            return
        self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        """Note that nothing more will come, with `error` if it should have."""
        self._ended, self._error = True, error
        self._changed.set()

    def close(self) -> None:
        """Forget everything; later `put`s are swallowed."""
        self._closed = True
        self._pieces.clear()
        self._forget_disk()
        self._changed.set()

    async def get(self) -> bytes | memoryview:
        """Return the next bytes, empty at the end. Raises what `end` was given."""
        while True:
            if self._pieces:
                piece = self._pieces.popleft()
                self._size -= len(piece)
                self._changed.set()
                return piece
            if self._disk is not None and self._read < self._disk.size:
                return await self._from_disk(self._disk)
            if self._closed or self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            await self._wait()

    async def _from_disk(self, disk: OnDisk) -> memoryview:
        data = await disk.read(self._read)
        if self._disk is disk:  # else it was closed meanwhile
            self._read += len(data)
            disk.release(self._read)
            if self._read == disk.size and not self._putting:
                self._forget_disk()
            self._changed.set()
        return data

    def _forget_disk(self) -> None:
        if self._disk is not None:
            self._disk.close()
        self._disk, self._read = None, 0

    def _emptied(self) -> bool:
        if self._disk is not None and self._read == self._disk.size:
            self._forget_disk()
        return self._closed or not (self._size or self._disk)

    def _keep(self, piece: bytes) -> None:
        if not self._closed:
            self._pieces.append(piece)
            self._size += len(piece)
            self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
