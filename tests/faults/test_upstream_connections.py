"""Upstream: connections that do not come about, or are not what they seem"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import LOCALHOST, server_tls
from tests.e2e.harness import Running, put, request, sidecar
from tests.faults.meeting import Broken, is_well, logged
from tests.faults.origin import Act, Then, misbehaving
from tests.sockets import serving

EXPIRED_CERTIFICATE = Path(__file__).with_name("expired.pem")
"""Self-signed for localhost, with its key, and valid in January 2020 only."""
NAMELESS_CERTIFICATE = Path(__file__).with_name("nameless.pem")
"""Self-signed, with its key, and valid for a hundred years; the subject is localhost, the names are none."""

REFUSED = Broken("connect_failed", 502, "connection_refused")
TIMED_OUT = Broken("connect_failed", 502, "connection_timeout")
UNRESOLVED = Broken("dns_failed", 502, "dns_error")
UNTRUSTED = Broken("tls_failed", 502, "tls_certificate_error")
NO_TLS = Broken("tls_failed", 502, "tls_protocol_error")
IN_A_HURRY = {"max_wait_seconds": 0.1, "retry_backoff_seconds": 0.01, "retry_backoff_max_seconds": 0.02}
PATIENT_PUT = put(b"{}", b"Prefer: wait=120")
PATIENT_GET = request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=120")


async def never_sent(proxy: Running, broken: Broken) -> None:
    """A read and a write are both told so, and both permits are given back."""
    for raw in (request(), put()):
        reply = await proxy.ask(raw)
        broken.is_told_by(reply)
        assert reply.attempts == 0
    state = await proxy.status()
    assert [(view["in_flight"], view["minute_remaining"]) for view in state["tenants"]] in ([], [(0, 60)])


@pytest.mark.looptime
async def test_refused() -> None:
    """502 `connect_failed` at the deadline, writes too, as nothing was sent; no call is spent. Repeated until
    then, whatever `RETRY_ATTEMPTS` and the budget say.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"max_wait_seconds": 20, "retry_attempts": 1, "retry_budget": 0}
    async with sidecar(f"http://127.0.0.1:{port}", **settings) as proxy:
        await never_sent(proxy, REFUSED)
        await proxy.passes(60)
        waiting = [proxy.start(raw) for raw in (PATIENT_PUT, PATIENT_GET)]
        await proxy.passes(6)
        async with misbehaving(port=port) as ledger:
            assert [(await each).status for each in waiting] == [200, 200]
            assert (len(ledger.lines), len(ledger.keys())) == (2, 2)
            await is_well(proxy)
    logged(proxy, "connect_failed", 0)


class Names:
    """What the resolver says about `xero.test`, in place of the loop's own; no address is a failure."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.look_up)

    async def look_up(self, host: str, port: int, **_: Any) -> list[Any]:
        addresses = self.addresses if host == "xero.test" else (host,)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in addresses]


@pytest.mark.looptime
async def test_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    """502 `dns_failed` at the deadline, writes too, as nothing was sent; no call is spent, and what waits is
    sent once the name resolves.
    """
    async with misbehaving() as ledger:
        names = Names(monkeypatch)
        settings = {"max_wait_seconds": 20, "retry_attempts": 1, "retry_budget": 0}
        async with sidecar(f"http://xero.test:{ledger.address.port}", **settings) as proxy:
            await never_sent(proxy, UNRESOLVED)
            await proxy.passes(60)
            waiting = [
                proxy.start(PATIENT_PUT),
                proxy.start(PATIENT_GET),
            ]
            await proxy.passes(6)
            names.addresses = ("127.0.0.1",)
            assert [(await each).status for each in waiting] == [200, 200]
            await is_well(proxy)
        assert len(ledger.lines) == 3
    logged(proxy, "dns_failed", 0)


@pytest.mark.looptime
async def test_change_of_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next connection goes to the new address: names are looked up for each one."""
    names = Names(monkeypatch, "127.0.0.1")
    async with misbehaving(Act(), Act(then=Then.CLOSE)) as old:
        port = old.address.port
        async with (
            misbehaving(host="127.0.0.2", port=port) as new,
            sidecar(f"http://xero.test:{port}") as proxy,
        ):
            assert (await proxy.ask(put())).status == 200
            names.addresses = ("127.0.0.2",)
            assert (await proxy.ask(put())).status == 200
            assert (len(old.lines), len(new.lines)) == (2, 0), "the connection in use is still good"
            assert (await proxy.ask(put())).status == 200
            assert (len(old.lines), len(new.lines)) == (2, 1)
            await is_well(proxy)


@pytest.mark.looptime
async def test_one_of_several_addresses_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is tried within the same attempt."""
    Names(monkeypatch, "127.0.0.3", "127.0.0.1")
    async with misbehaving() as ledger, sidecar(f"http://xero.test:{ledger.address.port}") as proxy:
        reply = await proxy.ask(put())
        assert (reply.status, reply.attempts, ledger.executed("PUT")) == (200, 1, 1)
        await is_well(proxy)


# --- in real time: the resolver's threads and TLS know no other


async def test_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """502 `connect_failed` after `CONNECT_TIMEOUT_SECONDS`. What needs no lookup goes on, bodies on disk
    too, however many lookups hang.
    """
    known, asked, answered = socket.getaddrinfo, threading.Semaphore(0), threading.Event()

    def hang(host: str, *rest: Any, **options: Any) -> list[Any]:
        if host == "xero.test":
            asked.release()
            answered.wait(60.0)
        return known("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    settings = {
        "identity_upstream": "http://xero.test:1",
        "connect_timeout_seconds": 0.5,
        "max_wait_seconds": 1,
    }
    async with misbehaving() as ledger, sidecar(str(ledger.address), **settings) as proxy:
        token = request(b"POST /connect/token", body=b"grant_type=refresh_token")
        try:
            for reply in await asyncio.gather(*(proxy.ask(token) for _ in range(10))):
                TIMED_OUT.is_told_by(reply)
            assert asked.acquire(blocking=False)
            assert asked.acquire(blocking=False)
            reply = await asyncio.wait_for(proxy.ask(put(b"x" * 3_000_000)), 5.0)
            assert (reply.status, ledger.executed("PUT")) == (200, 1)
            await is_well(proxy, spent=1)
        finally:
            answered.set()
    assert {line["class"] for line in proxy.lines()} == {"connect_failed", "success"}


async def test_connection_that_is_still_being_made_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 `refused_deadline` then, which names the host; nothing is sent later, and nothing is held."""
    answered = threading.Event()
    known = socket.getaddrinfo

    def hang(host: str, *rest: Any, **options: Any) -> list[Any]:
        if host == "xero.test":
            answered.wait(60.0)
        return known("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    async with (
        misbehaving() as ledger,
        sidecar(f"http://xero.test:{ledger.address.port}", max_wait_seconds=1) as proxy,
    ):
        try:
            reply = await asyncio.wait_for(proxy.ask(put()), 3.0)
            assert (reply.status, reply.class_, reply.attempts) == (503, "refused_deadline", 0)
            assert f"xero.test:{ledger.address.port}" in reply.problem["detail"]
            assert reply.wait is None
        finally:
            answered.set()
        assert ledger.lines == []
        assert (await proxy.ask(request())).status == 200


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sidecar trust our certificate as it trusts the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(LOCALHOST))


async def tls_fails(context: ssl.SSLContext, host: str, broken: Broken) -> None:
    async with (
        misbehaving(tls=context) as ledger,
        sidecar(f"https://{host}:{ledger.address.port}", **IN_A_HURRY) as proxy,
    ):
        await never_sent(proxy, broken)
        assert ledger.requests == []
    logged(proxy, "tls_failed", 0)


async def test_tls_certificate_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """502 `tls_failed` with `tls_certificate_error`; the handshake fails, so nothing is sent."""
    monkeypatch.setenv("SSL_CERT_FILE", str(EXPIRED_CERTIFICATE))
    await tls_fails(server_tls(EXPIRED_CERTIFICATE), "localhost", UNTRUSTED)


async def test_tls_certificate_for_another_name() -> None:
    """As an expired one; under its own name the same certificate is good."""
    tls = server_tls(LOCALHOST)
    async with (
        misbehaving(tls=tls) as ledger,
        sidecar(f"https://localhost:{ledger.address.port}") as proxy,
    ):
        assert (await proxy.ask(put())).status == 200
        await is_well(proxy, spent=1)
    await tls_fails(tls, "127.0.0.1", UNTRUSTED)


async def test_tls_certificate_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an expired one: what its subject is called counts for nothing (RFC 9110, 4.3.4)."""
    monkeypatch.setenv("SSL_CERT_FILE", str(NAMELESS_CERTIFICATE))
    await tls_fails(server_tls(NAMELESS_CERTIFICATE), "localhost", UNTRUSTED)


async def test_tls_1_0() -> None:
    """502 `tls_failed` with `tls_protocol_error`: nothing below TLS 1.2 is spoken."""
    context = server_tls(LOCALHOST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    await tls_fails(context, "localhost", NO_TLS)


@pytest.mark.looptime
@pytest.mark.parametrize("says", [b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_tls_refused(says: bytes) -> None:
    """An alert, plain HTTP or a hang-up in place of a handshake: as TLS 1.0, and nothing is sent."""
    heard: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(10_000))
        writer.write(says)

    async with (
        serving(refuse) as address,
        sidecar(f"https://127.0.0.1:{address.port}", **IN_A_HURRY) as proxy,
    ):
        await never_sent(proxy, NO_TLS)
    assert len(heard) >= 2
    assert not any(b"HTTP/1.1" in each for each in heard)
    logged(proxy, "tls_failed", 0)
