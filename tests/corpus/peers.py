"""The same rows through nginx and HAProxy, in real time, each before a recording origin."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from proxy.clock import Clock
from tests.corpus.rows import Row
from tests.corpus.runner import ASKED, Outcome, Recorder, recorder, run

QUIET = 0.15
"""Seconds without a byte after which nothing more is expected of a proxy that keeps its connection."""
PATIENCE = 10.0

NGINX = """\
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream origin {{ server {origin}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
HAPROXY = """\
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  retries 0
  http-reuse always
frontend callers
  bind 127.0.0.1:{port}
  default_backend origin
backend origin
  server origin {origin}
"""


Command = Callable[[Path], list[str]]
PEERS: dict[str, tuple[str, Command]] = {
    "nginx": (NGINX, lambda path: ["-p", str(path.parent), "-c", str(path)]),
    "haproxy": (HAPROXY, lambda path: ["-db", "-f", str(path)]),
}


def installed(name: str) -> str | None:
    """Where the program is; Debian keeps servers where not every PATH looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


async def run_peer(name: str, requests: Iterable[Row], responses: Iterable[Row]) -> dict[str, Outcome]:
    """What became of all rows."""
    async with recorder() as origin, _running(name, origin) as port:
        outcomes = await run(port, origin, requests, QUIET)
        for row in responses:
            origin.answer = row.raw
            outcomes |= await run(port, origin, [Row(row.id, row.kind, ASKED, row.expect)], QUIET)
    return outcomes


@contextlib.asynccontextmanager
async def _running(name: str, origin: Recorder) -> AsyncIterator[int]:
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        arguments = _set_up(name, Path(folder), origin, port)
        process = await asyncio.create_subprocess_exec(
            installed(name) or name,
            *arguments,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(_listening(port), PATIENCE)
            yield port
        finally:
            process.terminate()
            await process.wait()


def _set_up(name: str, folder: Path, origin: Recorder, port: int) -> list[str]:
    text, command = PEERS[name]
    path = folder / "settings"
    path.write_text(text.format(folder=folder, origin=origin.address.authority.decode(), port=port))
    return command(path)


async def _listening(port: int) -> None:
    clock = Clock()
    while True:
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await clock.sleep_until(clock.now() + 0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
