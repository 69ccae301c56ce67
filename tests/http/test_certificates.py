"""TLS on the callers' port, over real sockets: who gets in, and what a change of the files does."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from proxy.clock import Clock
from proxy.http.callers import LINGER, Call, Downstream, Handler
from proxy.http.certificates import (
    LOOK_SECONDS,
    BadCertificate,
    Certificates,
    server_context,
    upstream_context,
)
from proxy.http.listener import HANDSHAKE_SECONDS
from proxy.http.response import Truncated
from tests.certificates import Authority
from tests.sockets import read_answer, refusal, request

LARGE = b"large" * 1_000_000
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Port:
    """A callers' port with TLS by the files in `folder`."""

    number: int
    downstream: Downstream
    certificates: Certificates
    told: list[tuple[str, str]] = field(default_factory=list)

    async def open(self, context: ssl.SSLContext) -> Connection:
        return await asyncio.open_connection(
            "127.0.0.1", self.number, ssl=context, server_hostname="localhost"
        )

    async def asks(self, context: ssl.SSLContext) -> bytes:
        reader, writer = await self.open(context)
        try:
            return await ask(reader, writer)
        finally:
            writer.close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(request())
    return (await read_answer(reader))[1]


async def answer(call: Call) -> None:
    await call.respond(200, b"OK", (), b"hello" if call.target == b"/" else LARGE)


@contextlib.asynccontextmanager
async def port(
    files: tuple[str, str], authorities: str = "", handle: Handler = answer
) -> AsyncIterator[Port]:
    clock = Clock()
    downstream = Downstream(handle, refusal, clock=clock, crashed=pytest.fail)
    told: list[tuple[str, str]] = []
    certificates = Certificates(
        *files,
        authorities,
        use=downstream.use_tls,
        told=lambda action, detail: told.append((action, detail)),
        clock=clock,
    )
    certificates.start()
    try:
        yield Port(await downstream.start("127.0.0.1", 0), downstream, certificates, told)
    finally:
        certificates.close()
        await downstream.close()


def put(path: str, content: bytes | None) -> None:
    """A file with this content, or none."""
    Path(path).unlink()
    if content is not None:
        Path(path).write_bytes(content)


def beside(path: str, content: bytes) -> str:
    Path(path + ".new").write_bytes(content)
    return path + ".new"


def content_of(path: str) -> bytes:
    return Path(path).read_bytes()


def replace(old: str, new: str) -> None:
    """As a rotation does: all at once, whatever the clock of the file system."""
    Path(new).replace(old)


async def test_a_caller_is_answered_over_tls_and_only_over_tls(tmp_path: Path) -> None:
    authority = Authority("one")
    async with port(authority.issue(tmp_path)) as listening:
        assert await listening.asks(authority.trusted()) == b"hello"
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.number)
        writer.write(request())
        assert not (await reader.read()).startswith(b"HTTP")
        writer.close()
    assert listening.told == [("loaded", "2070-01-01T00:00:00Z")]


async def test_what_is_older_than_tls_1_2_is_not_spoken(tmp_path: Path) -> None:
    authority = Authority("one")
    old = authority.trusted()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with port(authority.issue(tmp_path)) as listening:
        # Of the refusal the client of Python 3.11.2 (Debian 12's) hears the end of the connection alone.
        with pytest.raises(ssl.SSLError if sys.version_info[:3] > (3, 11, 2) else ConnectionResetError):
            await listening.asks(old)


async def test_a_large_answer_is_not_lost_where_its_connection_ends_with_it(tmp_path: Path) -> None:
    authority = Authority("one")
    async with port(authority.issue(tmp_path)) as listening:
        reader, writer = await listening.open(authority.trusted())
        writer.write(request(b"GET /large", b"Connection: close"))
        assert (await reader.read()).endswith(LARGE)
        writer.close()


async def test_an_answer_that_comes_before_the_upload_has_ended_is_not_destroyed(tmp_path: Path) -> None:
    authority = Authority("one")
    async with port(authority.issue(tmp_path)) as listening:
        reader, writer = await listening.open(authority.trusted())
        writer.write(request(b"POST /large", b"Content-Length: 9000000"))
        writer.write(b"x" * 5_000_000)  # the caller sends whatever it is told, as simple clients do
        assert (await read_answer(reader))[1] == LARGE
        writer.close()


class Cut:
    """The rest of a body that Xero has cut."""

    length = None

    async def read(self) -> bytes:
        raise Truncated

    def close(self) -> None:
        pass


async def test_a_body_that_was_cut_does_not_end_as_a_whole_one(tmp_path: Path) -> None:
    async def cut(call: Call) -> None:
        await call.respond(200, b"OK", (), b"half", Cut())

    authority = Authority("one")
    async with port(authority.issue(tmp_path), handle=cut) as listening:
        reader, writer = await listening.open(authority.trusted())
        writer.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")  # whose body ends with the connection
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize("ahead", [b"", b"x" * 200_000], ids=["idle", "much pipelined"])
async def test_a_caller_that_leaves_is_noticed(ahead: bytes, tmp_path: Path) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def wait(call: Call) -> None:
        call.on_gone = gone.set
        begun.set()
        await gone.wait()

    authority = Authority("one")
    async with port(authority.issue(tmp_path), handle=wait) as listening:
        _, writer = await listening.open(authority.trusted())
        writer.write(request() + ahead)
        await begun.wait()
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.looptime
async def test_who_shakes_hands_while_it_drains_and_then_asks_nothing_does_not_hold_the_exit(
    tmp_path: Path,
) -> None:
    authority, clock = Authority("one"), Clock()
    async with port(authority.issue(tmp_path)) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.number)
        await clock.sleep_until(clock.now() + 0.1)  # it is accepted
        listening.downstream.drain()
        await writer.start_tls(authority.trusted(), server_hostname="localhost")
        began = clock.now()
        assert await reader.read() == b""
        assert clock.now() - began < LINGER + 1
        writer.close()


async def test_with_authorities_a_caller_needs_a_certificate(tmp_path: Path) -> None:
    authority, callers, others = Authority("one"), Authority("callers"), Authority("others")
    shown, foreign = callers.issue(tmp_path, "app"), others.issue(tmp_path, "stranger")
    async with port(authority.issue(tmp_path), callers.file(tmp_path)) as listening:
        assert await listening.asks(authority.trusted(shown)) == b"hello"
        for shows in (None, foreign):
            with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                await listening.asks(authority.trusted(shows))


async def test_callers_are_looked_at_alike_by_each_python(tmp_path: Path) -> None:
    flags = server_context(*Authority("one").issue(tmp_path), "").verify_flags
    assert flags & ssl.VERIFY_X509_STRICT
    assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN


async def test_an_authority_that_was_taken_out_lets_nobody_in_any_more(tmp_path: Path) -> None:
    authority, before, after = Authority("one"), Authority("before"), Authority("after")
    shown, later = before.issue(tmp_path, "app"), after.issue(tmp_path, "later")
    authorities = before.file(tmp_path)
    async with port(authority.issue(tmp_path), authorities) as listening:
        reader, writer = await listening.open(authority.trusted(shown))
        replace(authorities, after.file(tmp_path))
        listening.certificates.look()
        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            await listening.asks(authority.trusted(shown))
        assert await listening.asks(authority.trusted(later)) == b"hello"
        assert await ask(reader, writer) == b"hello"  # who was let in stays
        writer.close()
    assert [action for action, _ in listening.told] == ["loaded", "loaded"]


async def test_a_new_certificate_is_used_for_whoever_comes_next(tmp_path: Path) -> None:
    before, after = Authority("before"), Authority("after")
    (tmp_path / "new").mkdir()
    files, new = before.issue(tmp_path), after.issue(tmp_path / "new")
    async with port(files) as listening:
        for old, changed in zip(files, new, strict=True):
            replace(old, changed)
        listening.certificates.look()
        assert await listening.asks(after.trusted()) == b"hello"
        with pytest.raises(ssl.SSLError):
            await listening.asks(before.trusted())


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
async def test_a_bad_file_keeps_the_old_one_and_is_told_once(content: bytes | None, tmp_path: Path) -> None:
    authority = Authority("one")
    certificate, key = authority.issue(tmp_path)
    async with port((certificate, key)) as listening:
        whole = content_of(certificate)
        put(certificate, content)
        for _ in range(3):
            listening.certificates.look()
        assert await listening.asks(authority.trusted()) == b"hello"
        assert [action for action, _ in listening.told] == ["loaded", "refused"]
        replace(certificate, beside(certificate, whole))
        listening.certificates.look()
        assert [action for action, _ in listening.told] == ["loaded", "refused", "loaded"]


@pytest.mark.looptime
async def test_it_is_looked_every_ten_seconds_whether_a_file_has_changed(tmp_path: Path) -> None:
    authority, clock = Authority("one"), Clock()
    files = authority.issue(tmp_path)
    async with port(files) as listening:
        put(files[1], b"")
        await clock.sleep_until(clock.now() + LOOK_SECONDS + 0.1)
        assert [action for action, _ in listening.told] == ["loaded", "refused"]


@pytest.mark.looptime
async def test_a_handshake_that_does_not_end_is_ended(tmp_path: Path) -> None:
    clock = Clock()
    async with port(Authority("one").issue(tmp_path)) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.number)
        began = clock.now()
        assert await reader.read() == b""
        assert HANDSHAKE_SECONDS <= clock.now() - began < HANDSHAKE_SECONDS + 1
        writer.close()


def test_what_cannot_be_used_is_named_and_not_quoted(tmp_path: Path) -> None:
    certificate, key = Authority("one").issue(tmp_path)
    _, other = Authority("two").issue(tmp_path, "other")
    encrypted, empty = tmp_path / "encrypted.key", tmp_path / "canary"
    encrypted.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    empty.write_text("canary")
    for files in (
        (certificate, other, ""),
        (key, certificate, ""),
        (certificate, str(encrypted), ""),
        (certificate, key, str(empty)),
        (certificate, str(tmp_path / "canary.missing"), ""),
    ):
        with pytest.raises(BadCertificate, match=r"cannot be used: [a-z]") as bad:
            server_context(*files)
        assert "canary" not in str(bad.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no such file or directory"),
        (b"", "no certificate or crl found"),
        (b"canary", "no certificate or crl found"),
        (
            b"-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n",
            "it is no pem file of that kind",
        ),
    ],
)
def test_authorities_of_xero_that_cannot_be_used_are_refused_with_the_reason(
    content: bytes | None, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "canary.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadCertificate) as bad:
        upstream_context(str(file))
    assert str(bad.value) == f"the authorities of Xero cannot be used: {why}"


def test_a_folder_holds_no_authorities_of_xero(tmp_path: Path) -> None:
    with pytest.raises(BadCertificate, match="cannot be used: is a directory"):
        upstream_context(str(tmp_path))


def test_authorities_of_xero_are_trusted_besides_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, ours = Authority("system"), Authority("ours")
    monkeypatch.setenv("SSL_CERT_FILE", system.file(tmp_path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert trusted_names(upstream_context()) == {"system"}
    assert trusted_names(upstream_context(ours.file(tmp_path))) == {"system", "ours"}


def test_xero_is_known_by_the_names_that_its_certificate_lists_over_tls_1_2_or_newer(tmp_path: Path) -> None:
    for context in (upstream_context(), upstream_context(Authority("ours").file(tmp_path))):
        assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert not context.hostname_checks_common_name


def trusted_names(context: ssl.SSLContext) -> set[str]:
    """The common names of the authorities that a context trusts."""
    return {
        str(x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        for der in context.get_ca_certs(binary_form=True)
    }
