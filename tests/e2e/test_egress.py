"""A proxy on the way to Xero, and authorities of one's own: what goes through, and what was never sent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, server_tls
from tests.e2e.harness import TOKEN, Running, put, request, sidecar
from tests.egress import tinyproxy
from tests.faults.origin import Ledger, misbehaving
from tests.servers import free_port
from tests.sockets import serving

SECRET = "c4n4ry"
Trusted = tuple[str, str]


@pytest.fixture
def trusted(tmp_path: Path) -> Trusted:
    """The file of an authority, and that of a certificate and key that it vouches for."""
    authority = Authority("ours")
    chain, key = authority.issue(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(chain).read_bytes() + Path(key).read_bytes())
    return authority.file(tmp_path), str(both)


@contextlib.asynccontextmanager
async def behind(trusted: Trusted, proxy: str, **settings: Any) -> AsyncIterator[tuple[Running, Ledger]]:
    """A sidecar before an https origin that is reached through `proxy`."""
    authorities, certificate = trusted
    async with misbehaving(tls=server_tls(Path(certificate))) as xero:
        upstream = f"https://localhost:{xero.address.port}"
        settings = {
            "upstream_ca_file": authorities,
            "upstream_proxy": proxy,
            "max_wait_seconds": 2,
            **settings,
        }
        async with sidecar(upstream, **settings) as running:
            yield running, xero


@pytest.mark.parametrize("login", ["", f"user {SECRET}"])
async def test_requests_go_through_the_proxy_and_it_learns_no_more_than_the_host(
    trusted: Trusted, login: str
) -> None:
    with tinyproxy(login) as egress:
        url = f"http://{login.replace(' ', ':')}{'@' if login else ''}127.0.0.1:{egress.port}"
        async with behind(trusted, url) as (proxy, xero):
            for _ in range(3):
                assert (await proxy.ask(put())).status == 200
            assert xero.executed("PUT") == 3
            assert not any(b"proxy-authorization" in raw.lower() for raw in xero.requests)
            told = f"{await proxy.status()}{await proxy.admin('/metrics')!r}{proxy.text()}"
    assert SECRET not in told
    assert egress.asked_for == [f"localhost:{xero.address.port}"]
    assert "opaque" not in egress.log


@pytest.mark.parametrize(
    ("login", "refuses", "says", "status"),
    [
        (f"user {SECRET}", "", "user:wr0ng@", "401"),
        (f"user {SECRET}", "", "", "407"),
        ("", "localhost", "", "403"),
    ],
)
async def test_what_the_proxy_refuses_was_never_sent(
    trusted: Trusted, login: str, refuses: str, says: str, status: str
) -> None:
    with tinyproxy(login, refuses) as egress:
        url = f"http://{says}127.0.0.1:{egress.port}"
        async with behind(trusted, url, idempotency="false") as (proxy, xero):
            reply = await proxy.ask(put())
            seen = await proxy.status()
            metrics = await proxy.admin("/metrics")
        assert (reply.status, reply.class_, xero.requests) == (502, "connect_failed", [])
        told = f"The proxy http://127.0.0.1:{egress.port} answered {status}"
        assert told in reply.problem["Message"]
    assert len(egress.asked_for) > 1  # again until the deadline
    assert not any(word in f"{reply}{seen}{metrics!r}{proxy.text()}" for word in ("wr0ng", SECRET))


async def test_a_proxy_that_is_not_there_is_named_and_nothing_was_sent(trusted: Trusted) -> None:
    port = free_port()
    async with behind(trusted, f"http://user:{SECRET}@127.0.0.1:{port}") as (proxy, xero):
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_, xero.requests) == (502, "connect_failed", [])
    says = f"No connection to the proxy http://127.0.0.1:{port}: connection refused."
    assert reply.problem["Message"] == says
    assert SECRET not in f"{reply}{proxy.text()}"


async def test_a_host_that_the_proxy_cannot_reach_was_never_sent_to(trusted: Trusted) -> None:
    with tinyproxy() as egress:
        settings = {"upstream_ca_file": trusted[0], "max_wait_seconds": 1}
        url = f"http://127.0.0.1:{egress.port}"
        async with sidecar(f"https://localhost:{free_port()}", upstream_proxy=url, **settings) as proxy:
            reply = await proxy.ask(put())
    assert (reply.status, reply.class_) == (502, "connect_failed")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (f"HTTP/1.1 502 {SECRET}\r\nContent-Length: 6\r\n\r\n{SECRET}", "The proxy {} answered 502"),
        (f"{SECRET}\r\n\r\n", "The proxy {} gave no answer in HTTP"),
        ("", "within 0.5 s"),
    ],
)
async def test_a_proxy_that_gives_no_way_is_asked_again_and_quoted_nowhere(
    trusted: Trusted, answer: str, says: str
) -> None:
    heads = []

    async def gives_no_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer.encode())
        await reader.read()

    post = request(b"POST /api.xro/2.0/Contacts", body=b"{}")
    async with serving(gives_no_way) as where:
        url = f"http://user:{SECRET}@127.0.0.1:{where.port}"
        options = {"connect_timeout_seconds": 0.5, "idempotency": "false"}
        async with behind(trusted, url, **options) as (proxy, xero):
            reply = await proxy.ask(post)
            told = f"{reply}{await proxy.status()}{await proxy.admin('/metrics')!r}{proxy.text()}"
    assert (reply.status, reply.class_, xero.requests) == (502, "connect_failed", [])
    assert says.format(where) in reply.problem["Message"]
    assert SECRET not in told
    assert len(heads) > 1
    for head in heads:
        assert head.startswith(f"CONNECT localhost:{xero.address.port} HTTP/1.1\r\n".encode())
        assert b"\r\nProxy-Authorization: Basic dXNlcjpjNG40cnk=\r\n" in head
        assert b"\r\nauthorization:" not in head.lower()
        assert TOKEN not in head


async def test_behind_a_proxy_too_only_authorities_that_are_trusted_vouch_for_an_upstream(
    trusted: Trusted,
) -> None:
    with tinyproxy() as egress:
        url = f"http://127.0.0.1:{egress.port}"
        async with misbehaving(tls=server_tls(Path(trusted[1]))) as xero:
            upstream = f"https://localhost:{xero.address.port}"
            async with sidecar(upstream, upstream_proxy=url, max_wait_seconds=1) as proxy:
                reply = await proxy.ask(put())
    assert (reply.status, reply.class_, xero.requests) == (502, "tls_failed", [])


async def test_only_authorities_that_are_trusted_vouch_for_an_upstream(trusted: Trusted) -> None:
    async with misbehaving(tls=server_tls(Path(trusted[1]))) as xero:
        upstream = f"https://localhost:{xero.address.port}"
        async with sidecar(upstream, max_wait_seconds=1) as proxy:
            reply = await proxy.ask(put())
            assert (reply.status, reply.class_, xero.requests) == (502, "tls_failed", [])
        async with sidecar(upstream, upstream_ca_file=trusted[0]) as proxy:
            assert (await proxy.ask(put())).status == 200


async def test_proxies_of_the_environment_are_not_used(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with behind(trusted, "") as (proxy, _):
        assert (await proxy.ask(put())).status == 200


async def test_an_http_upstream_is_reached_without_the_proxy() -> None:
    async with misbehaving() as xero:
        settings = {
            "upstream_proxy": f"http://127.0.0.1:{free_port()}",
            "identity_upstream": "https://localhost:1",
        }
        async with sidecar(str(xero.address), **settings) as proxy:
            assert (await proxy.ask(put())).status == 200


async def test_a_proxy_whose_name_is_not_known_is_the_one_that_is_named(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **options: Any) -> list[Any]:
        if host == "proxy.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with behind(trusted, f"http://user:{SECRET}@proxy.test:3128") as (proxy, xero):
        reply = await proxy.ask(put())
        assert (reply.status, reply.class_, xero.requests) == (502, "dns_failed", [])
    says = "The proxy http://proxy.test:3128 could not be resolved: Name or service not known."
    assert reply.problem["Message"] == says


async def test_a_certificate_for_another_name_is_told_behind_a_proxy_too(trusted: Trusted) -> None:
    with tinyproxy() as egress:
        settings = {"upstream_proxy": f"http://127.0.0.1:{egress.port}", "upstream_ca_file": trusted[0]}
        async with misbehaving(tls=server_tls(Path(trusted[1]))) as xero:
            port = xero.address.port
            async with sidecar(f"https://127.0.0.1:{port}", max_wait_seconds=1, **settings) as proxy:
                reply = await proxy.ask(put())
    assert (reply.status, reply.class_, xero.requests) == (502, "tls_failed", [])
    assert reply.problem["Message"] == f"The certificate of 127.0.0.1:{port} is for another name."
