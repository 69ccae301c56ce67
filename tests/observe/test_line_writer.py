import os
import threading
from collections.abc import Callable, Iterator

import pytest

from proxy.observe.line_writer import LineWriter

LINE = b"x" * 999 + b"\n"
NOT_OPEN = 1_000_000


class Pipe:
    """A pipe that nobody reads until `text` is asked for."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def shut(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)

    def text(self, finish: Callable[[], object]) -> bytes:
        """All that comes out of it while `finish` runs and before."""
        parts: list[bytes] = []

        def read() -> None:
            while part := os.read(self.reader, 65_536):
                parts.append(part)

        thread = threading.Thread(target=read)
        thread.start()
        finish()
        self.shut(self.writer)
        thread.join()
        return b"".join(parts)

    def close(self) -> None:
        for descriptor in list(self._open):
            self.shut(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def notice(lines: int) -> bytes:
    return b"dropped %d\n" % lines


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    for _ in range(5000):
        if condition():
            return
        threading.Event().wait(0.001)
    raise TimeoutError


def test_lines_come_out_whole_and_in_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice)
    lines = [b"%d\n" % number for number in range(5000)]
    for line in lines:
        writer.write(line)
    assert pipe.text(lambda: writer.close(10)) == b"".join(lines)
    assert writer.dropped == 0


def test_a_pipe_that_nobody_reads_costs_lines_and_not_time(pipe: Pipe) -> None:
    """If `write` waited for the pipe, this test would never end."""
    writer = LineWriter(pipe.writer, notice, lines_max=100)
    for _ in range(10_000):
        writer.write(LINE)
    assert writer.dropped >= 9_000
    lines = pipe.text(lambda: writer.close(10)).splitlines(keepends=True)
    notices = [line for line in lines if line.startswith(b"dropped")]
    assert lines.count(LINE) == 10_000 - writer.dropped
    assert sum(int(line.split()[1]) for line in notices) == writer.dropped
    assert lines[-1] == notices[-1]


def test_the_queue_is_bounded_in_bytes_too(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice, bytes_max=2500)
    with writer._lock:  # nothing counts as written until all three are in
        for _ in range(3):
            writer.write(LINE)
    assert writer.dropped == 1
    assert writer.close(10)


def test_room_comes_back_when_the_reader_does(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice, lines_max=2)
    with writer._lock:  # nothing counts as written until all three are in
        for _ in range(3):
            writer.write(LINE)
    until(lambda: writer._held_lines == 0)
    writer.write(b"after\n")
    text = pipe.text(lambda: writer.close(10))
    assert text == LINE + LINE + b"dropped 1\n" + b"after\n"


def test_closing_does_not_wait_for_a_reader_that_is_stuck(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice)
    for _ in range(200):
        writer.write(LINE)
    assert not writer.close(0.05)
    pipe.shut(pipe.reader)
    assert writer.close(10)  # only now may the descriptor's number go to somebody else


def test_lines_after_the_end_are_drops(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice)
    assert writer.close(10)
    writer.write(LINE)
    assert writer.dropped == 1
    assert writer.close(10)


def test_a_reader_that_has_gone_makes_drops(pipe: Pipe) -> None:
    pipe.shut(pipe.reader)
    writer = LineWriter(pipe.writer, notice)
    writer.write(LINE)
    assert writer.close(10)
    assert writer.dropped == 1


def test_a_descriptor_that_is_not_open_makes_drops() -> None:
    writer = LineWriter(NOT_OPEN, notice)
    writer.write(LINE)
    assert writer.close(10)
    assert writer.dropped == 1


def test_a_full_disk_makes_drops() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(descriptor, notice)
    writer.write(LINE)
    writer.write(LINE)
    assert writer.close(10)
    assert writer.dropped == 2
    os.close(descriptor)


def test_a_line_that_was_cut_short_does_not_spoil_the_next(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice)
    writer.write(b"y" * 1_000_000 + b"\n")
    assert os.read(pipe.reader, 1) == b"y"
    pipe.shut(pipe.reader)
    until(lambda: writer.dropped == 1)
    fresh = Pipe()
    os.dup2(fresh.writer, pipe.writer)
    fresh.shut(fresh.writer)
    writer.write(LINE)
    assert writer.close(10)
    pipe.shut(pipe.writer)
    assert fresh.text(lambda: None) == b"\n" + LINE + b"dropped 1\n"
    fresh.close()


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    writer = LineWriter(pipe.writer, notice)
    for _ in range(500):
        writer.write(LINE)
    assert pipe.text(lambda: writer.close(10)) == LINE * 500
    assert writer.dropped == 0


def test_threads_may_write_at_once(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice)

    def write(line: bytes) -> None:
        for _ in range(1000):
            writer.write(line)

    threads = [threading.Thread(target=write, args=(line,)) for line in (b"one\n", b"two\n", b"three\n")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = pipe.text(lambda: writer.close(10)).splitlines()
    assert sorted(lines) == [b"one"] * 1000 + [b"three"] * 1000 + [b"two"] * 1000


def test_a_thread_that_is_writing_may_write(pipe: Pipe) -> None:
    """As a finaliser or a signal handler does that runs inside `write`."""
    writer = LineWriter(pipe.writer, notice)
    with writer._lock:
        writer.write(LINE)
    assert pipe.text(lambda: writer.close(10)) == LINE
