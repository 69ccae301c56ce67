"""Load at a fixed rate: requests leave when they are due, whatever has become of those before them.

A latency runs from when its request was due, so a proxy that stalls is charged with everybody whom it made
wait. The load does not wait in an event loop of Python, whose timers are as coarse as a millisecond.

`python -m tests.bench.peers.pace PORT PATH RATE SECONDS` prints the 50th and the 99th percentile, in
microseconds, as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.peers.process import Failed, Running, pinned
from tests.bench.peers.requests import BadAnswer, content_length, heads

CONNECTIONS = 32
ANSWER_SECONDS, HEAD_START_SECONDS = 10.0, 0.02
WARM_UP = 0.1
"""The share of the requests, the first of them, that is not counted."""

PR_SET_TIMERSLACK = 29
"""Of prctl(2): by how many nanoseconds the kernel may be late; otherwise 50 µs."""

Percentiles = tuple[float, float]


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of them does not exceed."""
    ordered = sorted(samples)
    place = -(-len(ordered) * share // 1)
    return ordered[max(0, int(place) - 1)]


def latencies(port: int, requests: Sequence[bytes], rate: float, count: int) -> list[float]:
    """Seconds of each request in the order of the answers. Raises `BadAnswer`."""
    with contextlib.ExitStack() as stack:
        return _latencies(
            [stack.enter_context(_connection(port)) for _ in range(CONNECTIONS)], requests, rate, count
        )


def _connection(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _latencies(idle: list[socket.socket], requests: Sequence[bytes], rate: float, count: int) -> list[float]:
    due_at: dict[socket.socket, float] = {}
    measured: list[float] = []
    began, sent = time.perf_counter() + HEAD_START_SECONDS, 0
    while sent < count or due_at:
        now = time.perf_counter()
        while sent < count and idle and (due := began + sent / rate) <= now:
            connection = idle.pop()
            connection.sendall(requests[sent % len(requests)])
            due_at[connection] = due
            sent += 1
        more = sent < count and idle
        timeout = max(0.0, began + sent / rate - time.perf_counter()) if more else ANSWER_SECONDS
        readable, _, _ = select.select(due_at, (), (), timeout)
        if not (readable or more):
            raise BadAnswer("none at all")
        for connection in readable:
            _read_answer(connection)
            measured.append(time.perf_counter() - due_at.pop(connection))
            idle.append(connection)
    return measured


def _read_answer(connection: socket.socket) -> None:
    answer = b""
    while True:
        received = connection.recv(65536)
        if not received:
            raise BadAnswer("the connection was closed")
        answer += received
        head, end, body = answer.partition(b"\r\n\r\n")
        if end and len(body) >= content_length(head):
            return


def pace(target: Running, path: str, rate: int, seconds: float, core: int) -> Percentiles:
    """p50 and p99 in microseconds of a load from this core. Raises `Failed`."""
    command = (sys.executable, "-m", __name__, str(target.port), path, str(rate), str(seconds))
    with pinned(core):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stderr.strip().rpartition("\n")[2])
    middle, late = json.loads(done.stdout)
    return middle, late


def main() -> None:
    """Load, and print."""
    port, path, rate, seconds = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    gc.disable()
    samples = latencies(int(port), heads("GET", path), float(rate), int(float(rate) * float(seconds)))
    counted = [seconds * 1e6 for seconds in samples[int(len(samples) * WARM_UP) :]]
    print(json.dumps([percentile(counted, 0.5), percentile(counted, 0.99)]))


if __name__ == "__main__":
    main()
