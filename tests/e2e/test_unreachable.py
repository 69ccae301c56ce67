"""Hosts that cannot be reached: the answer, the log and `/status` name them and say why."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import LOCALHOST as CERTIFICATE
from tests.certificates import server_tls
from tests.e2e.harness import request, sidecar
from tests.sockets import OK, read_request, serving

EXPIRED = Path(__file__).parents[1] / "faults" / "expired.pem"
NAMELESS = Path(__file__).parents[1] / "faults" / "nameless.pem"
UNKNOWN = "xeroo.test"


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Knows no such name, and two addresses of `twice.test`."""
    known = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if host == UNKNOWN:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "twice.test":
            return [*known("127.0.0.1", port, *rest, **options), *known("127.0.0.2", port, *rest, **options)]
        return known(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(OK)


async def hang_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@contextlib.asynccontextmanager
async def refusing() -> AsyncIterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield int(free.getsockname()[1])


def with_certificate(certificate: Path) -> Callable[[], contextlib.AbstractAsyncContextManager[int]]:
    @contextlib.asynccontextmanager
    async def listening() -> AsyncIterator[int]:
        async with serving(answer, server_tls(certificate)) as address:
            yield address.port

    return listening


def without_tls(
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> Callable[[], contextlib.AbstractAsyncContextManager[int]]:
    @contextlib.asynccontextmanager
    async def listening() -> AsyncIterator[int]:
        async with serving(converse) as address:
            yield address.port

    return listening


UNREACHABLE = [
    (f"http://{UNKNOWN}", refusing, "", "xeroo.test could not be resolved: Name or service not known."),
    ("http://127.0.0.1", refusing, "", "No connection to 127.0.0.1:{port}: connection refused."),
    ("http://twice.test", refusing, "", "No connection to twice.test:{port}: connection refused."),
    (
        "https://localhost",
        with_certificate(CERTIFICATE),
        "",
        "The certificate of localhost:{port} has an unknown issuer.",
    ),
    (
        "https://127.0.0.1",
        with_certificate(CERTIFICATE),
        CERTIFICATE,
        "The certificate of 127.0.0.1:{port} is for localhost.",
    ),
    (
        "https://localhost",
        with_certificate(NAMELESS),
        NAMELESS,
        "The certificate of localhost:{port} is for no name.",
    ),
    (
        "https://localhost",
        with_certificate(EXPIRED),
        EXPIRED,
        "The certificate of localhost:{port} is not valid: certificate has expired.",
    ),
    ("https://127.0.0.1", without_tls(hang_up), "", "No TLS with 127.0.0.1:{port}: it ended the connection."),
    ("https://127.0.0.1", without_tls(nothing), "", "No connection to 127.0.0.1:{port} within 0.5 s."),
]


@pytest.mark.parametrize(("url", "listening", "trusted", "says"), UNREACHABLE)
async def test_the_answer_the_log_and_the_status_name_the_host_and_the_reason(
    url: str,
    listening: Callable[[], contextlib.AbstractAsyncContextManager[int]],
    trusted: str | Path,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    settings: dict[str, Any] = {"retry_attempts": 1, "connect_timeout_seconds": 0.5, "max_wait_seconds": 0.5}
    async with listening() as port:
        says = says.format(port=port)
        async with sidecar(f"{url}:{port}", **settings) as proxy:
            reply = await proxy.ask(request())
            assert (reply.status, reply.problem["detail"], reply.problem["Detail"]) == (502, says, says)
            api, identity = (await proxy.status())["upstreams"]
    assert (api["host"], api["url"], api["connected"], api["error"]) == (
        "api",
        f"{url}:{port}",
        False,
        says,
    )
    assert api["connected_seconds"] is None
    assert 0 <= api["error_seconds"] < 5
    assert (identity["host"], identity["connected"], identity["error"]) == ("identity", None, "")
    assert [line["detail"] for line in proxy.lines()] == [says]


async def test_the_status_keeps_the_last_error_when_connections_come_about_again() -> None:
    async with refusing() as port:
        pass
    async with sidecar(f"http://127.0.0.1:{port}", retry_attempts=1, max_wait_seconds=0.5) as proxy:
        assert (await proxy.ask(request())).status == 502
        async with serving(answer, port=port):
            patient = request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=30")
            assert (await proxy.ask(patient)).status == 200
            api, _ = (await proxy.status())["upstreams"]
    assert (api["connected"], "connection refused" in api["error"]) == (True, True)
    assert api["connected_seconds"] <= api["error_seconds"]
    assert [line["detail"] != "" for line in proxy.lines()] == [True, False]


@pytest.mark.looptime
@pytest.mark.parametrize("patience", [b"Prefer: wait=0", b"Prefer: wait=20"])
async def test_who_waits_while_one_request_tries_to_connect_is_told_the_host_and_the_reason(
    patience: bytes,
) -> None:
    async with refusing() as port:
        says = f"No connection to 127.0.0.1:{port}: connection refused."
        settings: dict[str, Any] = {"max_wait_seconds": 100}
        async with sidecar(f"http://127.0.0.1:{port}", **settings) as proxy:
            first = proxy.start(request())
            await proxy.passes(40)
            lines = [b"GET /api.xro/2.0/Contacts", b"GET /projects.xro/2.0/Projects"]
            for reply in await asyncio.gather(*(proxy.ask(request(line, patience)) for line in lines * 3)):
                assert (reply.status, reply.class_, reply.wait) == (502, "connect_failed", None)
                assert reply.problem["detail"] == says
            await first
    assert [(line["class"], line["detail"]) for line in proxy.lines()] == [("connect_failed", says)] * 7


async def test_who_is_held_for_xeros_failures_is_told_of_no_earlier_trouble_to_connect() -> None:
    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n")

    async with refusing() as port:
        pass
    hasty = {"retry_attempts": 1, "retry_backoff_seconds": 0.2}
    async with sidecar(f"http://127.0.0.1:{port}", max_wait_seconds=0.1, **hasty) as proxy:
        assert (await proxy.ask(request())).class_ == "connect_failed"
        async with serving(fail, port=port):
            patient = request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=5")
            for _ in range(5):
                assert (await proxy.ask(patient)).status == 504
            refused = await proxy.ask(request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=0"))
            assert (refused.status, refused.class_) == (503, "refused_failing")
