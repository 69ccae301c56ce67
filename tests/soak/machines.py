"""The two other processes, and what can be learned of them from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from proxy.clock import Clock
from tests.soak.callers import UPSTREAM_SECONDS

COMMAND = (sys.executable, "-c", "import sys; from proxy.cli import main; sys.exit(main())")
WINDOW_SECONDS, DAY_CALLS = "1", "100000000"
START_SECONDS, STOP_SECONDS = 30.0, 40.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Machine:
    """A process that runs; what it prints goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, printed: Path, clock: Clock) -> None:
        self.process = process
        self._printed = printed
        self._clock = clock
        self.url = self.admin = ""

    async def says(self, pattern: str) -> str:
        """Wait for this in what it prints."""
        give_up = self._clock.now() + START_SECONDS
        while self._clock.now() < give_up and self.process.returncode is None:
            with self._printed.open("rb") as file:
                if found := re.search(pattern, file.read(65536).decode("utf-8", "replace")):
                    return found[1]
            await self._clock.sleep_until(self._clock.now() + 0.05)
        raise RuntimeError(f"a process did not start: nothing like {pattern} in {self._printed}")

    async def stop(self) -> None:
        """End it, if it has not ended."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def memory(self) -> float:
        """MiB that are resident."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * _PAGE / 2**20

    def files(self) -> int:
        """Open descriptors, but for that of the one file without a name in which bodies wait on disk: it is
        opened when the first one has to, and then kept.
        """
        targets: list[str] = []
        for each in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                targets.append(str(each.readlink()))
        return len(targets) - any(target.endswith(" (deleted)") for target in targets)

    def cpu(self) -> float:
        """Seconds of processor time."""
        fields = (
            Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _environment(settings: dict[str, object]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("XERO_PROXY_")}
    return inherited | {f"XERO_PROXY_{name.upper()}": str(value) for name, value in settings.items()}


@contextlib.asynccontextmanager
async def _machine(
    arguments: tuple[str, ...], printed: Path, settings: dict[str, object]
) -> AsyncIterator[Machine]:
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, env=_environment(settings), stdout=descriptor, stderr=descriptor
        )
    finally:
        os.close(descriptor)
    machine = Machine(process, printed, Clock())
    try:
        yield machine
    finally:
        await machine.stop()


@contextlib.asynccontextmanager
async def simulator(folder: Path) -> AsyncIterator[Machine]:
    """Xero, whose minute lasts a second."""
    flags = ("--window-seconds", WINDOW_SECONDS, "--latency-ms", "2:30", "--day-limit", DAY_CALLS)
    async with _machine(
        ("simulator", "--listen", "127.0.0.1:0", *flags), folder / "simulator", {}
    ) as machine:
        machine.url = await machine.says(r"Simulated Xero at (\S+)")
        yield machine


@contextlib.asynccontextmanager
async def sidecar(folder: Path, upstream: str) -> AsyncIterator[Machine]:
    """The proxy before it, with backoffs as short as the simulator's outages."""
    settings: dict[str, object] = {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "upstream": upstream,
        "identity_upstream": upstream,
        "minute_window_seconds": WINDOW_SECONDS,
        "tenant_day_limit": DAY_CALLS,
        "upstream_timeout_seconds": UPSTREAM_SECONDS,
        "offline_backoff_seconds": 1,
        "retry_backoff_max_seconds": 2,
        "body_memory_bytes": 100_000,
        "spool_dir": folder,
    }
    async with _machine(("serve",), folder / "log", settings) as machine:
        machine.url = await machine.says(r'"listen":"([^"]+)"')
        machine.admin = await machine.says(r'"admin_listen":"([^"]+)"')
        yield machine


async def ask(address: str, path: str, order: object = None, method: str = "") -> Any:
    """JSON of one page of the simulator's control or the admin port; an `order` is posted."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
    body = b"" if order is None else json.dumps(order).encode()
    method = method or ("GET" if order is None else "POST")
    fields = f"Host: {host}:{port}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    head = f"{method} {path} HTTP/1.1\r\n{fields}"
    try:
        writer.write(head.encode() + body)
        answer = await reader.read()
    finally:
        writer.close()
    return json.loads(answer.partition(b"\r\n\r\n")[2])
