"""The image's health check, as the image runs it, against admin ports that are well, unwell or not there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.harness import sidecar

CHECK = Path(__file__).parents[2] / "deploy" / "image" / "health.py"


async def verdict(admin_listen: str) -> int:
    environ = {**os.environ, "XERO_PROXY_ADMIN_LISTEN": admin_listen}
    check = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", CHECK, env=environ)
    return await asyncio.wait_for(check.wait(), 20)


@contextlib.asynccontextmanager
async def answering(answer: bytes, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """An admin port that says this to everything; the port."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    if host.startswith("/"):
        server = await asyncio.start_unix_server(converse, host)
    else:
        server = await asyncio.start_server(converse, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_sidecar_is_healthy_while_it_accepts_requests_and_not_once_it_drains() -> None:
    async with sidecar("http://127.0.0.1:1", drain_seconds=5) as running:
        assert await verdict(f"127.0.0.1:{running.car.admin_port}") == 0
        running.car._ready = False
        assert await verdict(f"127.0.0.1:{running.car.admin_port}") == 1


@pytest.mark.parametrize("listen", ["0.0.0.0:{}", "localhost:{}", "127.0.0.1:{}"])
async def test_an_admin_port_that_listens_everywhere_is_asked_on_the_loopback_address(listen: str) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as port:
        assert await verdict(listen.format(port)) == 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize("listen", ["[::]:{}", "[::1]:{}"])
async def test_an_ipv6_address_is_understood(listen: str) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n", "::1") as port:
        assert await verdict(listen.format(port)) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1",
        b"",
        b"\x00" * 500,
    ],
)
async def test_anything_but_200_is_unhealthy(answer: bytes) -> None:
    async with answering(answer) as port:
        assert await verdict(f"127.0.0.1:{port}") == 1


async def test_an_admin_port_at_a_path_is_asked_there(tmp_path: Path) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n", str(tmp_path / "admin.sock")):
        assert await verdict(f"unix:{tmp_path}/admin.sock") == 0
    assert await verdict(f"unix:{tmp_path}/other.sock") == 1


async def test_a_port_where_nobody_listens_is_unhealthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as former:
        port = former.getsockname()[1]
    assert await verdict(f"127.0.0.1:{port}") == 1


@pytest.mark.parametrize("listen", ["", "nonsense", "127.0.0.1:", "127.0.0.1:nought"])
async def test_an_address_that_is_none_is_unhealthy(listen: str) -> None:
    assert await verdict(listen) == 1
