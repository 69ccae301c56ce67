"""Lines of text to a file descriptor, from any thread, without ever waiting for whoever reads them.

A pipe that nobody reads must not freeze the proxy, so lines go through a queue that is bounded in lines and
bytes; what does not fit is dropped and counted, and when there is room again one line says how many were.
One daemon thread does the writing. It lets lines gather for a moment, so that a busy proxy pays for one
system call per thousand lines and not for each. A reader that has gone, a closed descriptor and a full disk
are drops too; nothing here raises.

Finalisers and signal handlers may log at any point, also while this very thread is inside `write`: hence a
queue whose `put` is re-entrant and a re-entrant lock.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from queue import SimpleQueue

LINES_MAX = 16_384
BYTES_MAX = 8 * 1024 * 1024
GATHER_SECONDS = 0.05
BATCH_LINES = 1024


class LineWriter:
    """A bounded, non-blocking writer. `notice(n)` renders the line that reports `n` dropped lines.

    `dropped` counts the lines that were given to `write` and did not reach the descriptor. The descriptor
    must stay open until `close` has returned True, or its number may be somebody else's by then.
    """

    def __init__(
        self,
        descriptor: int,
        notice: Callable[[int], bytes],
        *,
        lines_max: int = LINES_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.dropped = 0
        self._reported = 0
        self._descriptor = descriptor
        self._notice = notice
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._lock = threading.RLock()
        self._held_lines = 0
        self._held_bytes = 0
        self._torn = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue one line, its newline included, or drop it."""
        size = len(line)
        with self._lock:
            if (
                self._held_lines >= self._lines_max
                or self._held_bytes + size > self._bytes_max
                or self._closing.is_set()
            ):
                self.dropped += 1
                return
            self._held_lines += 1
            self._held_bytes += size
            self._queue.put(line)

    # structlog calls its sink by the name of the level.
    debug = info = warning = error = critical = write

    def close(self, timeout: float) -> bool:
        """Write what is queued for at most `timeout` seconds; later lines are dropped. True if all went out.

        A reader that is stuck costs no more than that: the thread is left behind and dies with the process.
        """
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """The thread: batch after batch until the None that `close` queues behind the last line."""
        while True:
            batch = [self._queue.get()]
            if self._queue.empty():
                self._closing.wait(GATHER_SECONDS)
            more = min(self._queue.qsize(), BATCH_LINES)
            batch += [self._queue.get_nowait() for _ in range(more)]
            self._write_batch([line for line in batch if line is not None])
            if batch[-1] is None:
                return

    def _write_batch(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        lost = self._lost(data)
        with self._lock:
            self._held_lines -= len(lines)
            self._held_bytes -= len(data)
            self.dropped += lost
            unreported = self.dropped - self._reported
            recovered = unreported > 0 and not lost and self._held_lines == 0
            if recovered:
                self._reported = self.dropped
        if recovered:
            self._lost(self._notice(unreported))

    def _lost(self, data: bytes) -> int:
        """Write `data` and return how many of its lines did not get out whole.

        A line that an error cut short is ended before the next one begins, so that it spoils no other.
        """
        start = b"\n" if self._torn else b""
        written = self._write_all(start + data) - len(start)
        if written >= 0:
            self._torn = 0 < written < len(data) and not data[:written].endswith(b"\n")
        return data.count(b"\n", max(0, written))

    def _write_all(self, data: bytes) -> int:
        """How many bytes were written before the end or an error."""
        written = 0
        view = memoryview(data)
        while written < len(data):
            try:
                written += os.write(self._descriptor, view[written:])
            except BlockingIOError:
                # Whoever shares the descriptor made it non-blocking; this thread has time to wait.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(1000)
            except OSError:
                break
        return written
