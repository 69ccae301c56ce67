"""Bodies that wait on disk, all of them in one file without a name, and the read-ahead of a slow caller's
response: a queue that goes on there.

One file takes one descriptor, however many bodies wait in it. It is unlinked before its first byte is
written, so that nothing of it outlives the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from proxy.worker import Daemons

T = TypeVar("T")

PIECE = 128 * 1024
BLOCK = 1024 * 1024
"""Bytes of the file that belong to one body; so many at once are given back."""
MOST = 2 * 1024**3
MEMORY = 256 * 1024

_THREADS = Daemons(4, "spool")
"""Not the loop's own: lookups of names that hang would occupy all of those."""


class SpoolFull(OSError):
    """More would be on disk than may be."""


class SpoolFile:
    """A file of mode 0600 without a name, in `directory` (None is the system's), for all bodies on disk.

    It is made when the first byte is written. A body's blocks are nobody else's until the file system has
    their room back, where it takes any (Linux's own do). `most` is the bytes on disk at once; `failed` is
    told why something could not be written.
    """

    __slots__ = ("_blocks", "_descriptor", "_directory", "_free", "failed", "held", "most")

    def __init__(
        self,
        directory: str | None = None,
        most: int = MOST,
        failed: Callable[[OSError], None] = lambda _error: None,
    ) -> None:
        self._directory = directory
        self.failed = failed
        self._descriptor: int | None = None
        self._free: list[int] = []
        self._blocks = 0
        self.most = most
        self.held = 0
        """Bytes of bodies that are on disk now."""

    def __del__(self) -> None:
        """Close the file."""
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    def fileno(self) -> int:
        """Return the descriptor. Raises OSError where the file cannot be made."""
        if self._descriptor is None:
            self._descriptor = _open(self._directory or tempfile.gettempdir())
        return self._descriptor

    def take(self, size: int) -> None:
        """Put `size` bytes on the account. Raises SpoolFull where that is more than may be."""
        if self.held + size > self.most:
            raise SpoolFull("the limit of bytes on disk is reached")
        self.held += size

    def block(self) -> int:
        """A block that is nobody's."""
        if self._free:
            return self._free.pop()
        self._blocks += 1
        return self._blocks - 1

    def give_back(self, size: int, blocks: Sequence[int]) -> None:
        """Take `size` bytes off the account, and let others have `blocks` when their room is the disk's."""
        self.held -= size
        if blocks:
            emptied = asyncio.get_running_loop().run_in_executor(_THREADS, _empty, self.fileno(), blocks)
            emptied.add_done_callback(lambda _done: self._free.extend(blocks))


class OnDisk:
    """The bytes of one body in `file`, to be closed when nobody needs them any more. One writer, one reader.

    Reads and writes happen in a thread and raise OSError. Blocks that a thread is busy with are not given
    back before it is done, whoever awaits it no longer.
    """

    __slots__ = ("_blocks", "_busy", "_closed", "_file", "_first", "size")

    def __init__(self, file: SpoolFile) -> None:
        self._file = file
        self._blocks: list[int] = []
        self._first = 0
        self._busy = 0
        self._closed = False
        self.size = 0
        """Bytes that were appended."""

    async def append(self, data: bytes | memoryview) -> None:
        """Write all of `data` behind what is there."""
        try:
            self._file.take(len(data))
            try:
                await self._run(_write, self._file.fileno(), data, list(self._places(len(data))))
            except BaseException:
                self._file.give_back(len(data), ())
                raise
        except OSError as error:
            self._file.failed(error)
            raise
        if self._closed:
            self._file.give_back(len(data), ())
        else:
            self.size += len(data)

    async def read(self, offset: int) -> memoryview:
        """Read up to `PIECE` bytes at `offset`, of what was not released."""
        block, at = divmod(offset, BLOCK)
        # Not made by the thread: each has a heap of its own, which keeps what it is given back.
        piece = memoryview(bytearray(min(PIECE, BLOCK - at, self.size - offset)))
        place = self._blocks[block - self._first] * BLOCK + at
        size = await self._run(os.preadv, self._file.fileno(), [piece], place)
        if not size:
            raise OSError("the file is shorter than it was")
        return piece[:size]

    def release(self, offset: int) -> None:
        """Give whole blocks before `offset` back."""
        whole = offset // BLOCK - self._first
        if whole:
            released, self._blocks = self._blocks[:whole], self._blocks[whole:]
            self._first += whole
            self._file.give_back(whole * BLOCK, released)

    def close(self) -> None:
        """Give everything back."""
        if not self._closed:
            self._closed = True
            self._give_back()

    def _give_back(self) -> None:
        if self._closed and not self._busy:
            self._file.give_back(self.size - self._first * BLOCK, self._blocks)
            self._blocks = []
            self._first, self.size = 0, 0

    def _places(self, size: int) -> Iterator[tuple[int, int]]:
        """Where in the file the next `size` bytes go: each place and how many have room there."""
        offset, end = self.size, self.size + size
        while offset < end:
            block, at = divmod(offset, BLOCK)
            if block - self._first == len(self._blocks):
                self._blocks.append(self._file.block())
            room = min(BLOCK - at, end - offset)
            yield self._blocks[block - self._first] * BLOCK + at, room
            offset += room

    async def _run(self, call: Callable[..., T], *arguments: object) -> T:
        self._busy += 1
        running = asyncio.get_running_loop().run_in_executor(_THREADS, call, *arguments)
        running.add_done_callback(self._ran)
        return await asyncio.shield(running)

    def _ran(self, _running: asyncio.Future[T]) -> None:
        self._busy -= 1
        self._give_back()


def _open(directory: str) -> int:
    tmpfile = getattr(os, "O_TMPFILE", None)  # Linux only
    if tmpfile is not None:
        with contextlib.suppress(OSError):  # a file system without O_TMPFILE
            return os.open(directory, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC | tmpfile, 0o600)
    descriptor, name = tempfile.mkstemp(dir=directory)
    Path(name).unlink()
    return descriptor


def _write(descriptor: int, data: bytes | memoryview, places: list[tuple[int, int]]) -> None:
    rest = memoryview(data)
    for place, size in places:
        piece, rest = rest[:size], rest[size:]
        while piece:
            written = os.pwrite(descriptor, piece, place)
            piece = piece[written:]
            place += written  # noqa: PLW2901 - how far it has come


def _empty(descriptor: int, blocks: Sequence[int]) -> None:
    """Make holes in the file where these blocks are."""
    remove, end = getattr(mmap, "MADV_REMOVE", None), os.fstat(descriptor).st_size
    if remove is None:
        return
    for start in (block * BLOCK for block in blocks):
        if start < end:
            with (
                contextlib.suppress(OSError),  # a file system that knows no holes, or no descriptor to spare
                mmap.mmap(descriptor, min(BLOCK, end - start), offset=start) as pages,
            ):
                pages.madvise(remove)


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
