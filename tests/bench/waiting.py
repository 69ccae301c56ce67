"""Waiting is cheap: memory of the real process for each caller it holds in line.

`xero-proxy serve` runs in front of the real simulator; both are processes of their own and the callers are
plain sockets here. Each organisation's calls of one window are used up first, so that everybody after
that waits. The memory of the sidecar is read before its first request and again with all callers in line:
resident (RSS), and its proportional share (PSS) where the kernel tells it. The kernel's own memory for
the sockets is not in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.bench.report import table, verdict

CALLERS = 10_000
IN_LINE = 250
"""Waiting in the line of one organisation."""
PER_WINDOW, WINDOW_SECONDS = 60, 600
MOST_KIB = 8.0
SPARE_DESCRIPTORS = 200
START_SECONDS, FILL_SECONDS, STOP_SECONDS = 20.0, 120.0, 30.0
TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "x" * 1000 + ".signature"
"""As long as Xero's access tokens are."""


@dataclass(frozen=True, slots=True)
class Memory:
    """KiB of a process; `pss` is None where it cannot be read."""

    rss: int
    pss: int | None


class Failed(Exception):
    """A process did not do what it was started for."""


def raise_descriptor_limit(wanted: int) -> bool:
    """Let this process and its children open so many files; False where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return True
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return False
    return True


def memory(pid: int) -> Memory:
    """What a process holds now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        rollup = ""
    pss = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return Memory(_number(r"^VmRSS:\s+(\d+) kB", status), int(pss[1]) if pss else None)


def hold(callers: int, in_line: int = IN_LINE) -> tuple[Memory, Memory]:
    """Memory of a sidecar without callers and with so many in line. Raises `Failed`."""
    with _simulator() as upstream, _sidecar(upstream, callers) as (pid, port, admin):
        idle = memory(pid)
        tenants = range(-(-callers // in_line))
        for tenant in tenants:
            _use_up(port, tenant)
        with contextlib.ExitStack() as open_sockets:
            for number in range(callers):
                caller = open_sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
                caller.sendall(_request(number % len(tenants)))
            _wait_for_line(admin, callers)
            return idle, memory(pid)


def report() -> None:
    """Run and print."""
    print(
        "## Waiting is cheap\n\n"
        f"`xero-proxy serve` with {CALLERS:,} GETs in line, {IN_LINE} a line; the kernel's\n"
        "memory for sockets is not in it.\n"
    )
    if not Path("/proc/self/status").exists():
        print("Skipped: there is no /proc here to read a process's memory from.")
        return
    if not raise_descriptor_limit(CALLERS + SPARE_DESCRIPTORS):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        print(
            f"Skipped: {CALLERS + SPARE_DESCRIPTORS:,} file descriptors are needed and {hard:,} are allowed."
        )
        return
    idle, full = hold(CALLERS)
    each = (full.rss - idle.rss) / CALLERS
    rows = [("RSS", f"{idle.rss / 1024:.1f}", f"{full.rss / 1024:.1f}", f"{each:.2f}")]
    if idle.pss is not None and full.pss is not None:
        share = (full.pss - idle.pss) / CALLERS
        rows.append(("PSS", f"{idle.pss / 1024:.1f}", f"{full.pss / 1024:.1f}", f"{share:.2f}"))
    print(table(("", "idle, MiB", "full, MiB", "KiB a waiting GET"), rows), end="\n\n")
    print(
        verdict(f"at most {MOST_KIB:.0f} KiB RSS a waiting GET over the idle process", holds=each <= MOST_KIB)
    )


@contextlib.contextmanager
def _simulator() -> Iterator[str]:
    """The address of a simulator that is no stricter than the sidecar."""
    command = ("simulator", "--listen", "127.0.0.1:0", "--window-seconds", str(WINDOW_SECONDS))
    with _process(command, {}) as (_, printed):
        yield _said(printed, r"Simulated Xero at (\S+)")


@contextlib.contextmanager
def _sidecar(upstream: str, callers: int) -> Iterator[tuple[int, int, int]]:
    """Process id, port and admin port of a sidecar in which so many can wait."""
    settings = {
        "LISTEN": "127.0.0.1:0",
        "ADMIN_LISTEN": "127.0.0.1:0",
        "UPSTREAM": upstream,
        "IDENTITY_UPSTREAM": upstream,
        "TENANT_MINUTE_LIMIT": str(PER_WINDOW),
        "MINUTE_WINDOW_SECONDS": str(WINDOW_SECONDS),
        "MAX_WAIT_SECONDS": "3600",
        "QUEUE_LIMIT": str(callers),
        "QUEUE_LIMIT_TOTAL": str(callers),
        "DRAIN_SECONDS": "1",
    }
    settings = {f"XERO_PROXY_{name}": value for name, value in settings.items()}
    with _process(("serve",), settings) as (process, printed):
        listening = json.loads(_said(printed, r'^(\{.*"event":"listening".*\})$'))
        ports = [int(listening[name].rpartition(":")[2]) for name in ("listen", "admin_listen")]
        yield process.pid, ports[0], ports[1]


@contextlib.contextmanager
def _process(
    command: tuple[str, ...], settings: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """One of the project's commands, stopped at the end. What it prints goes to a file for `_said`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XERO_PROXY_")}
    start = (sys.executable, "-c", "import sys; from proxy.cli import main; sys.exit(main())", *command)
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(start, env=environment | settings, stdout=printed)
        try:
            yield process, printed
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _said(printed: IO[bytes], pattern: str) -> str:
    """What a process that was started prints about itself."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        text = os.pread(printed.fileno(), 65536, 0).decode()
        if found := re.search(pattern, text, re.MULTILINE):
            return found[1]
        time.sleep(0.05)
    raise Failed(f"a process did not start: nothing like {pattern} was printed")


def _request(tenant: int) -> bytes:
    return (
        f"GET /api.xro/2.0/Organisation HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n"
        f"Authorization: Bearer {TOKEN}\r\nXero-Tenant-Id: tenant-{tenant}\r\n"
        "Accept: application/json\r\n\r\n"
    ).encode()


def _use_up(port: int, tenant: int) -> None:
    """Make the calls of one organisation's window, one after the other."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
        for _ in range(PER_WINDOW):
            connection.sendall(_request(tenant))
            status, length = answers.readline(), 0
            if b" 200 " not in status:
                raise Failed(f"a call that had room was answered {status!r}")
            while (line := answers.readline()) not in {b"\r\n", b""}:
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            answers.read(length)


def _wait_for_line(admin: int, callers: int) -> None:
    """Until so many wait."""
    give_up, waiting = time.monotonic() + FILL_SECONDS, 0
    while time.monotonic() < give_up:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/status") as answer:
            waiting = json.load(answer)["waiting"]
        if waiting == callers:
            return
        time.sleep(0.2)
    raise Failed(f"only {waiting} of {callers} callers wait")


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise Failed(f"{pattern} is not there")
    return int(found[1])
