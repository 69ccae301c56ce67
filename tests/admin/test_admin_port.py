"""The admin port as a server: what is no good request, and how it begins and ends."""

import asyncio
import socket
from collections.abc import AsyncIterator

import orjson
import pytest
from yarl import URL

from proxy.admin.routes import AdminPort
from tests.admin_port import TOKEN, Proxy, serve


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async for each in serve(TOKEN):
        yield each


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /status HTTP/1.1\r\n\r\n", 400),
        (b"canary\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer canary\x01\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization Bearer canary\r\n\r\n", 400),
        (b"PURGE /status HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"get /status HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
async def test_what_is_no_good_request_is_refused_in_json_and_not_quoted(
    sent: bytes, status: int, proxy: Proxy
) -> None:
    """A page in a browser whose name was made to resolve to this port is such a one."""
    url = URL(str(proxy.client._base_url))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.split(b" ")[1] == b"%d" % status
    assert b"\r\nCache-Control: no-store" in head
    assert b"\r\nDate: " in head
    assert orjson.loads(body)["status"] == status
    assert b"canary" not in head + body


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"GET /livez HTTP/1.0\r\n\r\n", b"alive\n"),
        (b"GET http://10.1.2.3:9090/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"alive\n"),
        (b"HEAD /livez HTTP/1.0\r\n\r\n", b""),
        (b"HEAD /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", b""),
        (b"HEAD /nothing HTTP/1.0\r\n\r\n", b""),
        (b"HEAD /events HTTP/1.0\r\n\r\n", b""),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", b""),
        (b"HEAD /livez HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", b""),
    ],
)
async def test_a_health_check_of_an_old_kind_is_answered_and_head_has_no_body(
    sent: bytes, body: bytes, proxy: Proxy
) -> None:
    url = URL(str(proxy.client._base_url))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(sent)
    assert (await reader.read()).partition(b"\r\n\r\n")[2] == body
    writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"Content-Length: 9\r\n\r\n{", 408), (b"Transfer-Encoding: chunked\r\n\r\nx\r\n", 400)],
)
@pytest.mark.looptime
async def test_a_body_that_does_not_come_whole_clears_nothing(sent: bytes, status: int, proxy: Proxy) -> None:
    url = URL(str(proxy.client._base_url))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /holds/clear HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % TOKEN.encode() + sent
    )
    assert (await reader.readline()).split(b" ")[1] == b"%d" % status
    writer.close()
    assert proxy.cleared == []


async def test_an_address_in_use_is_an_error_at_once(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await AdminPort(proxy.admin, lambda _place: None).start("127.0.0.1", port)


async def test_stopping_frees_the_address(proxy: Proxy) -> None:
    admin = AdminPort(proxy.admin, lambda _place: None)
    port = await admin.start("127.0.0.1", 0)
    await admin.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
