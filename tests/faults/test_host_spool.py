"""What waits on disk: a bound for all of it, and few descriptors"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.e2e.harness import Caller, request
from tests.faults.processes import PATIENCE, Process, marked, origin, sidecar
from tests.sockets import serving

MIB = 1024 * 1024
ANSWER = 48 * MIB
UPLOADS = 300


def descriptors(process: Process) -> list[Path]:
    """All that it has open."""
    return list(Path(f"/proc/{process.pid}/fd").iterdir())


def on_disk(process: Process, folder: Path) -> int:
    """Bytes of the disk that its files in `folder` take, which have no name any more."""
    taken = 0
    for descriptor in descriptors(process):
        with contextlib.suppress(OSError):  # closed meanwhile
            if str(descriptor.readlink()).startswith(str(folder)):
                taken += descriptor.stat().st_blocks * 512
    return taken


class Download:
    """An origin that answers with 48 MiB, or with a body of 2 bytes; `sent` are the bytes that were taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"n=large" not in head:
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ANSWER)
            for number in range(ANSWER // MIB):
                writer.write(bytes([number]) * MIB)
                await writer.drain()
                self.sent += MIB

    async def rests(self) -> int:
        """Until nothing was taken for a while; what was then."""
        before = -1
        while before != self.sent or not self.sent:
            before = self.sent
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=1.0)
        return before


@contextlib.asynccontextmanager
async def stalled(process: Process, xero: Download) -> AsyncIterator[Caller]:
    """A caller that has asked for the large answer, and reads nothing of it."""
    async with process.caller() as caller:
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]  # a reader would read ahead, too
        caller.writer.write(marked("large"))
        await xero.rests()
        yield caller


def whole(body: bytes) -> bool:
    return body == b"".join(bytes([number]) * MIB for number in range(ANSWER // MIB))


async def reads(caller: Caller) -> bytes:
    caller.reader._transport.resume_reading()  # type: ignore[attr-defined]  # as above
    return (await asyncio.wait_for(caller.reply(), PATIENCE)).body


async def test_read_ahead_without_a_limit_in_sight(tmp_path: Path) -> None:
    """What the caller does not read waits on disk, and Xero's slot is free as soon as all of it is there.
    What it has read is given back to the disk. `xero_proxy_spool_bytes` says how much it is.
    """
    xero = Download()
    async with (
        serving(xero.converse) as address,
        sidecar(str(address), spool_dir=tmp_path) as process,
        stalled(process, xero) as caller,
    ):
        assert xero.sent == ANSWER
        (tenant,) = (await process.status())["tenants"]
        held = await process.count("spool_bytes")
        assert (tenant["in_flight"], held > ANSWER / 2) == (0, True)
        assert held <= on_disk(process, tmp_path) <= held + MIB
        assert whole(await reads(caller))
        assert await process.count("spool_bytes") == 0
        while on_disk(process, tmp_path):
            await process.admin("/livez")


async def test_read_ahead_beyond_spool_max_bytes(tmp_path: Path) -> None:
    """No more is on disk than `SPOOL_MAX_BYTES`: Xero waits for the caller, who gets every byte. An upload
    for which there is no room is answered 503 `spool_full`, small ones are served, and one line says so. When
    the caller has read all is as before.
    """
    xero, most = Download(), 4 * MIB
    settings: dict[str, Any] = {"spool_dir": tmp_path, "spool_max_bytes": most}
    async with (
        serving(xero.converse) as address,
        sidecar(str(address), **settings) as process,
        stalled(process, xero) as caller,
    ):
        assert xero.sent < ANSWER
        assert most - MIB < await process.count("spool_bytes") <= most
        assert on_disk(process, tmp_path) <= most
        full = await process.ask(marked("full", "t2", "PUT", b"x" * 2 * MIB))
        small = await process.ask(marked("small", "t2", "PUT", b"x" * 1024))
        assert (full.status, full.class_, full.wait, small.status) == (503, "spool_full", 1, 200)
        assert whole(await reads(caller))
        assert await process.count("spool_bytes") == 0
        after = await process.ask(marked("after", "t2", "PUT", b"x" * 2 * MIB))
        assert (after.status, xero.sent) == (200, ANSWER)
        assert await process.count("shed_total", reason="spool_full") == 1
        (line,) = await process.logged("spool_full")
        assert (line["level"], line["bytes"]) == ("warning", most)


async def test_300_uploads_with_64_descriptors(tmp_path: Path) -> None:
    """Bodies share one file: each caller is served, once and whole, when there is a descriptor for it."""
    settings: dict[str, Any] = {"spool_dir": tmp_path, "tenant_minute_limit": 1000}
    async with origin() as xero, sidecar(xero.url, first="ulimit -n 64", **settings) as process:
        body = b"x" * 2 * MIB
        replies = await asyncio.gather(
            *(process.ask(marked(number, f"t{number % 60}", "PUT", body)) for number in range(UPLOADS))
        )
        assert {(reply.status, reply.class_) for reply in replies} == {(200, "success")}
        assert await process.count("spool_bytes") == 0
    assert (len(xero.executed), set(xero.executed.values())) == (UPLOADS, {1})
    assert set(xero.bytes.values()) == {len(body)}


async def test_no_descriptor_for_a_connection_to_xero() -> None:
    """Waited for, within `CONNECT_TIMEOUT_SECONDS`: that is no failure of Xero's."""
    async with origin() as xero, sidecar(xero.url) as process, process.caller() as caller:
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        async with process.caller(process.admin_port) as admin:
            await asyncio.wait_for(admin.ask(request(b"GET /livez")), PATIENCE)
            taken = max(int(each.name) for each in descriptors(process))
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (taken + 1, limits[1]))
            asking = asyncio.create_task(caller.ask(marked("patient")))
            await asyncio.wait([asking], timeout=1.0)
            assert (asking.done(), xero.executed) == (False, {})
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
            reply = await asyncio.wait_for(asking, PATIENCE)
        assert (reply.status, reply.attempts, xero.executed) == (200, 1, {"patient": 1})
        assert await process.count("attempts_total", **{"class": "connect_failed"}) == 0
