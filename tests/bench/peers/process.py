"""One process on one core: started, awaited, and what it costs as /proc tells it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS, STOP_SECONDS = 20.0, 10.0
SHOWN_LINES = 3
ROOT = Path(__file__).parents[3]
PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A process did not do what it was started for."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, what it adds to the environment, and the port that it will listen on."""

    command: Sequence[str]
    port: int
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stat:
    """A process in `/proc/PID/stat`: who started it, and the CPU it has used, in clock ticks."""

    pid: int
    parent: int
    ticks: int


def parse_stat(text: str) -> Stat:
    """The name of a process may hold blanks and brackets, so the fields count from the last bracket."""
    pid, fields = text.partition(" ")[0], text.rpartition(")")[2].split()
    return Stat(int(pid), int(fields[1]), int(fields[11]) + int(fields[12]))


def tree(root: int, stats: Sequence[Stat]) -> list[Stat]:
    """A process and all that descend from it."""
    members = [stat for stat in stats if stat.pid == root]
    for member in members:
        members += [stat for stat in stats if stat.parent == member.pid]
    return members


@dataclass(frozen=True, slots=True)
class Running:
    """A process that listens, and the seconds that it took to."""

    pid: int
    port: int
    started_in: float

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree so far."""
        return sum(stat.ticks for stat in self._tree()) / TICKS

    def memory_kib(self) -> int:
        """Resident memory of the whole tree now."""
        return sum(_kib(stat.pid, "VmRSS") for stat in self._tree())

    def peak_kib(self) -> int:
        """Most resident memory of each process since `forget_peak`, added up."""
        return sum(_kib(stat.pid, "VmHWM") for stat in self._tree())

    def forget_peak(self) -> None:
        """Let the peaks be what is resident now."""
        for stat in self._tree():
            (PROC / str(stat.pid) / "clear_refs").write_text("5", "ascii")

    def _tree(self) -> list[Stat]:
        return tree(self.pid, list(_stats()))


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Whatever is started within runs on this core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running(launch: Launch, core: int, output: Path) -> Iterator[Running]:
    """Start it, wait until it listens, stop it at the end. What it prints goes to `output`.
    Raises `Failed`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("XERO_PROXY_")}
    with output.open("wb") as printed, pinned(core):
        began = time.monotonic()
        process = subprocess.Popen(
            launch.command,
            env={**clean, **launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    try:
        wait_for_port(launch.port, process, output)
        yield Running(process.pid, launch.port, time.monotonic() - began)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    """Until it accepts connections. Raises `Failed` with the end of what it printed."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.002)
    said = output.read_text("utf-8", errors="replace").splitlines()[-SHOWN_LINES:]
    raise Failed("\n".join((f"nothing listens on port {port}", *said)))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _stats() -> Iterator[Stat]:
    for directory in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            yield parse_stat((directory / "stat").read_text("utf-8", errors="replace"))


def _kib(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", (PROC / str(pid) / "status").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise Failed(f"{name} of process {pid} is not there")
    return int(found[1])
