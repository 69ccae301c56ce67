"""Large bodies: as fast as they go in several streams at once, or slowly in one.

`python -m tests.bench.peers.streams PORT down|up MEGABYTES STREAMS TIMES RATE` moves a body in so many
streams so often, each at most at so many MB a second (0: as fast as it goes), and prints MB a second in
all. What comes down is thrown away in the kernel, so that the load costs little beside the upstream on the
same core.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench.peers.process import Failed, Running, pinned
from tests.bench.peers.requests import BadAnswer, content_length, heads
from tests.bench.peers.upstream import FILES, UPLOAD

MEGABYTE = 1_000_000
PIECE_BYTES = 500_000
ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is moved: `rate` in MB a second and stream, 0 for no limit."""

    direction: str
    megabytes: int
    streams: int = 8
    times: int = 1
    rate: float = 0.0


def move(target: Running, load: Load, core: int) -> float:
    """MB a second of a load from this core. Raises `Failed`."""
    figures = (load.direction, load.megabytes, load.streams, load.times, load.rate)
    command = (sys.executable, "-m", __name__, str(target.port), *map(str, figures))
    with pinned(core):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stderr.strip().rpartition("\n")[2])
    return float(done.stdout)


def moved(port: int, load: Load) -> float:
    """MB a second, from the first byte to the last answer. Raises `BadAnswer` or OSError."""
    stream = _download if load.direction == "down" else _upload
    began = time.perf_counter()
    with ThreadPoolExecutor(load.streams) as pool:
        for done in [pool.submit(stream, port, load, number) for number in range(load.streams)]:
            done.result()
    return load.megabytes * load.streams * load.times / (time.perf_counter() - began)


def _download(port: int, load: Load, number: int) -> None:
    request = heads("GET", f"{FILES}/{load.megabytes}")[number]
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        for _ in range(load.times):
            connection.sendall(request)
            length, received = _read_head(connection)
            if length != load.megabytes * MEGABYTE:
                raise BadAnswer(f"{length} bytes")
            _discard(connection, length - received, load.rate)


def _upload(port: int, load: Load, number: int) -> None:
    request = heads("POST", UPLOAD, load.megabytes * MEGABYTE)[number]
    body = bytes(load.megabytes * MEGABYTE)
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        for _ in range(load.times):
            connection.sendall(request)
            connection.sendall(body)
            length, received = _read_head(connection)
            _discard(connection, length - received, 0.0)


def _read_head(connection: socket.socket) -> tuple[int, int]:
    """The length that the answer announces, and how much of it has come with the head."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(4096)
        if not piece:
            raise BadAnswer("the connection was closed")
        answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return content_length(head), len(body)


def _discard(connection: socket.socket, length: int, rate: float) -> None:
    buffer, began, rest = bytearray(PIECE_BYTES), time.perf_counter(), length
    while rest:
        # Of TCP: the bytes are taken from the socket and not copied.
        received = connection.recv_into(buffer, min(rest, PIECE_BYTES), socket.MSG_TRUNC)
        if not received:
            raise BadAnswer("it was cut short")
        rest -= received
        if rate:
            due = began + (length - rest) / (rate * MEGABYTE)
            time.sleep(max(0.0, due - time.perf_counter()))


if __name__ == "__main__":
    way, *numbers = sys.argv[2:]
    megabytes, streams, times = map(int, numbers[:3])
    print(moved(int(sys.argv[1]), Load(way, megabytes, streams, times, float(numbers[3]))))
