"""Bytes that wait: files without a name, and the read-ahead of a slow caller's response.

A file is unlinked before its first byte is written, so that nothing of it outlives the process. It is
closed by dropping the last reference and not by a call: a thread may still be writing, and closing
under it would hand its descriptor number to somebody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections import deque
from pathlib import Path

from proxy.worker import Daemons

PIECE = 128 * 1024
MEMORY = 256 * 1024

_THREADS = Daemons(4, "spool")
"""Not the loop's own: lookups of names that hang would occupy all of those."""


class UnnamedFile:
    """A file of mode 0600 without a name. Reads and writes happen in a thread and raise OSError."""

    __slots__ = ("_descriptor",)

    def __init__(self, directory: str | None) -> None:
        self._descriptor = _open(directory or tempfile.gettempdir())

    def __del__(self) -> None:
        """Close the file."""
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    async def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""
        await asyncio.get_running_loop().run_in_executor(_THREADS, self._write, data, offset)

    async def read(self, offset: int) -> memoryview:
        """Read up to `PIECE` bytes at `offset`."""
        # Not made by the thread: each has a heap of its own, which keeps what it is given back.
        piece = memoryview(bytearray(PIECE))
        size = await asyncio.get_running_loop().run_in_executor(_THREADS, self._read, piece, offset)
        return piece[:size]

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            rest = rest[written:]
            offset += written

    def _read(self, piece: memoryview, offset: int) -> int:
        return os.preadv(self._descriptor, [piece], offset)


def _open(directory: str) -> int:
    tmpfile = getattr(os, "O_TMPFILE", None)  # Linux only
    if tmpfile is not None:
        with contextlib.suppress(OSError):  # a file system without O_TMPFILE
            return os.open(directory, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC | tmpfile, 0o600)
    descriptor, name = tempfile.mkstemp(dir=directory)
    Path(name).unlink()
    return descriptor


class Spool:
    """A queue of bytes: up to `MEMORY` in memory, the rest in a file. One writer, one reader.

    Where the file cannot be written the writer waits for the reader: slower, and nothing is lost.
    """

    __slots__ = (
        "_changed",
        "_closed",
        "_directory",
        "_ended",
        "_error",
        "_file",
        "_pieces",
        "_putting",
        "_read",
        "_size",
        "_written",
    )

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._file: UnnamedFile | None = None
        self._read = self._written = 0
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
        if self._putting or not (self._closed or (self._read == self._written and self._size < MEMORY)):
            return False
        self._keep(piece)
        return True

    async def _put_on_disk(self, piece: bytes) -> None:
        try:
            self._file = self._file or UnnamedFile(self._directory)
            await self._file.write(piece, self._written)
        except OSError:
            while not self._emptied():
                await self._wait()
            self._keep(piece)
            return
        self._written += len(piece)
        self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        """Note that nothing more will come, with `error` if it should have."""
        self._ended, self._error = True, error
        self._changed.set()

    def close(self) -> None:
        """Forget everything; later `put`s are swallowed."""
        self._closed = True
        self._pieces.clear()
        self._file = None
        self._changed.set()

    async def get(self) -> bytes | memoryview:
        """Return the next bytes, empty at the end. Raises what `end` was given."""
        while True:
            if self._pieces:
                piece = self._pieces.popleft()
                self._size -= len(piece)
                self._changed.set()
                return piece
            if self._file is not None and self._read < self._written:
                return await self._from_file(self._file)
            if self._closed or self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            await self._wait()

    async def _from_file(self, file: UnnamedFile) -> memoryview:
        data = await file.read(self._read)
        self._read += len(data)
        self._changed.set()
        return data

    def _emptied(self) -> bool:
        return self._closed or not (self._size or self._read < self._written)

    def _keep(self, piece: bytes) -> None:
        if not self._closed:
            self._pieces.append(piece)
            self._size += len(piece)
            self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
