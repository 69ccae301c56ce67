"""A client's driver as the tests see it: steps in, answers out, and how long each took."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.clock import Clock
from tests.clients.install import ROOT, needed, program, python
from tests.clients.pages import write_setup

TENANT = "1d7c2b5e-8a34-4f60-9c1e-5b0a7f3d9e21"
DRIVERS = "tests/clients/drivers"
STEP_SECONDS = 90
AT_ONCE_SECONDS = 20
"""What sleeps on a day's `Retry-After` takes longer, and what does not takes less on any machine."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a client made of a step. `status` is None where the client does not tell."""

    ok: bool
    seconds: float
    value: dict[str, Any]

    @property
    def crashed(self) -> bool:
        """Whether anything but one of the client's own errors was raised."""
        return bool(self.value.get("crashed"))

    @property
    def status(self) -> int | None:
        value: int | None = self.value.get("status")
        return value

    @property
    def text(self) -> str:
        """What the client says of the error."""
        return str(self.value.get("text", ""))


class Driver:
    """A client, waiting for its next step."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._clock = Clock()

    async def heard(self) -> dict[str, Any]:
        """The next line. TimeoutError if it takes longer than `STEP_SECONDS`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(STEP_SECONDS):
            line = await self._process.stdout.readline()
        assert line, "the driver ended"
        value: dict[str, Any] = json.loads(line)
        return value

    async def step(self, name: str, *arguments: object) -> Told:
        """Let the client do something. TimeoutError as `heard`."""
        assert self._process.stdin is not None
        began = self._clock.now()
        self._process.stdin.write("\t".join(map(str, (name, *arguments))).encode() + b"\n")
        value = await self.heard()
        return Told(value.pop("ok"), self._clock.now() - began, value)

    async def does(self, name: str, *arguments: object) -> dict[str, Any]:
        """What the client returns of a step that must succeed."""
        told = await self.step(name, *arguments)
        assert told.ok, (name, told)
        return told.value


@contextlib.asynccontextmanager
async def driver(client: str, url: str, folder: Path) -> AsyncIterator[Driver]:
    """Start a client's driver, pointed at `url` as its page says. `folder` is for its files."""
    values = {
        "http://127.0.0.1:8080": url,
        "tenant id": TENANT,
        "access token": "opaque-access",
        "refresh token": "opaque-refresh",
    }
    setup = write_setup(client, folder, values)
    if client in {"xero-node", "xero-mcp-server"}:
        folder.joinpath("node_modules").symlink_to(Path(needed(client)) / "node_modules")
    process = await asyncio.create_subprocess_exec(
        *_command(client),
        cwd=ROOT,
        env={**plain_environment(), "SETUP": str(setup), "TENANT": TENANT, "FOLDER": str(folder)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        ready = Driver(process)
        await ready.heard()
        yield ready
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _command(client: str) -> list[str]:
    match client:
        case "curl":
            program("curl")
            return [program("bash"), f"{DRIVERS}/curl.sh"]
        case "xero-node" | "xero-mcp-server":
            needed(client)
            return [program("node"), f"{DRIVERS}/{client}.mjs"]
        case _:
            return [python(client), "-m", f"tests.clients.drivers.{client.replace('-', '_')}"]


def plain_environment() -> dict[str, str]:
    """This process's, without what would lead a client to another proxy than the one in the test."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
