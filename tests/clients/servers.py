"""Servers that others wrote, on the loopback address, until they are no longer needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from proxy.clock import Clock
from tests.clients.driver import plain_environment
from tests.clients.install import needed, program
from tests.clients.openapi import Document, for_prism

START_SECONDS = 180
STEP = 0.1


@contextlib.asynccontextmanager
async def prism(document: Document, folder: Path) -> AsyncIterator[str]:
    """Stoplight's Prism on a document; it checks every request against it and answers with its examples."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(for_prism(document)), "utf-8")
    main = f"{needed('prism')}/node_modules/@stoplight/prism-cli/dist/index.js"
    port = _free_port()
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--multiprocess",
        "false",
        "--verboseLevel",
        "error",
    ]
    async with _running([program("node"), main, "mock", *options, str(path)], port) as url:
        yield url


@contextlib.asynccontextmanager
async def localstack_xero() -> AsyncIterator[str]:
    """localstack-xero's stand-in: contacts, invoices, payments, connections and tokens, JSON only."""
    port = _free_port()
    settings = {"XERO_HOST": "127.0.0.1", "XERO_PORT": str(port)}
    async with _running([f"{needed('localstack-xero')}/bin/xero-local"], port, settings) as url:
        yield url


@contextlib.asynccontextmanager
async def _running(
    command: list[str], port: int, settings: dict[str, str] | None = None
) -> AsyncIterator[str]:
    """TimeoutError if nothing listens within `START_SECONDS`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**plain_environment(), **(settings or {})},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            await _listens(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int) -> None:
    clock = Clock()
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await clock.sleep_until(clock.now() + STEP)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise AssertionError(f"it ended with {process.returncode} before it listened")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
