"""What the machine does to the process: memory, disk and wall clock."""

from __future__ import annotations

import asyncio
import itertools
import resource
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import Clock
from tests.faults.processes import PATIENCE, elapsed, marked, need_descriptors, origin, sidecar

MIB = 1024 * 1024
UPLOADS, UPLOAD = 10_000, 16 * 1024
OFFLINE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 27\r\n\r\n"
    b"The Organisation is offline"
)
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


async def test_10_000_queued_uploads_inside_a_memory_limit(tmp_path: Path) -> None:
    """Bodies take 64 MiB of memory in all, the rest waits on disk; whoever cannot be kept gets 503
    `spool_full`. Nothing is lost: each request is executed whole and once, or refused.
    """
    need_descriptors(2 * UPLOADS)
    settings: dict[str, Any] = {
        "queue_limit": 2 * UPLOADS,
        "queue_limit_total": 2 * UPLOADS,
        "tenant_minute_limit": 10**6,
    }
    async with origin() as xero, sidecar(xero.url, spool_dir=tmp_path, **settings) as process:
        xero.gate.clear()
        idle = process.memory()
        asking = []
        for number in range(UPLOADS):
            raw = marked(number, f"t{number % 100}", "POST", b"x" * UPLOAD)
            asking.append(asyncio.create_task(process.ask(raw)))
            if number % 500 == 499:
                await asyncio.wait(asking[-500:], timeout=0.01)
        await process.waiting(UPLOADS - 500)
        held = process.memory("VmHWM") - idle
        xero.gate.set()
        replies = await asyncio.gather(*asking)
    assert held < 256 * MIB
    assert {reply.status for reply in replies} == {200}
    assert set(xero.executed.values()) == {1}
    assert set(xero.bytes.values()) == {UPLOAD}


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is missing (Debian: apt-get install faketime)")
async def test_a_wall_clock_that_jumps_back_a_day_and_on_400_days(tmp_path: Path) -> None:
    """Limits, holds and deadlines follow the monotonic clock: no window reopens early, nobody waits for a
    day, a hold keeps its end. Only the time in the log is the new one.
    """
    offset = tmp_path / "offset"
    offset.write_text("+0")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    limits: dict[str, Any] = {"tenant_minute_limit": 2, "minute_window_seconds": 1.5, "tenant_day_limit": 6}
    async with origin() as xero, sidecar(xero.url, environment=environment, **limits) as process:
        xero.say["offline"] = OFFLINE
        held = await process.ask(marked("offline", "t2"))
        arrived: list[float] = []
        for jump in ("-1d", "+400d", "+400d"):
            first = asyncio.gather(*(process.ask(marked(f"{jump}-{n}")) for n in range(2)))
            offset.write_text(jump)
            assert {reply.status for reply in await first} == {200}
            arrived.append(Clock().now())
            again = await process.ask(marked("held", "t2"))
            assert (held.class_, again.class_) == ("refused_offline", "refused_offline")
            assert again.wait is not None
            assert 200 < again.wait <= 300
        late = await process.ask(marked("late"))
        xero.gate.clear()
        flying = [asyncio.create_task(process.ask(marked(f"fly-{n}", "t3"))) for n in range(2)]
        while xero.executed["fly-0"] + xero.executed["fly-1"] < 2:
            await asyncio.wait(flying, timeout=0.01)
        offset.write_text("-1d")
        began = Clock().now()
        refused = await process.ask(marked("refused", "t3", wait=1))
        assert refused.status == 429
        assert elapsed(began) < 10
        xero.gate.set()
        await asyncio.gather(*flying)
        years = {line["time"][:4] for line in await process.logged("request", 13)}
    assert all(
        later - sooner > 1.0 for sooner, later in itertools.pairwise(arrived)
    )  # as this busy process saw it
    assert late.class_ == "refused_day"
    assert len(years) > 1
    assert xero.executed.keys().isdisjoint({"held", "late", "refused"})


async def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A body for which there is no room on disk is answered 503 `spool_full`, and nothing of it is sent;
    small ones are served meanwhile, an answer goes on at its reader's pace, and with room all is as before.
    """
    settings: dict[str, Any] = {"spool_dir": tmp_path, "body_memory_bytes": 64 * 1024}
    async with origin() as xero, sidecar(xero.url, **settings) as process:
        xero.say["large"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (8 * MIB) + b"x" * 8 * MIB
        no_bound = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MIB // 2, no_bound[1]))
        full = await asyncio.gather(
            *(process.ask(marked(f"full-{n}", method="POST", body=b"x" * MIB)) for n in range(5))
        )
        small = await process.ask(marked("small", method="POST", body=b"x" * 1024))
        async with process.caller() as slow:
            slow.writer.write(marked("large"))
            while not xero.executed["large"]:
                await process.admin("/livez")
            large = await asyncio.wait_for(slow.reply(), PATIENCE)
        counted = await process.count("shed_total", reason="spool_full")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, no_bound)
        after = await process.ask(marked("after", "t2", "POST", b"x" * MIB))
    assert {(reply.status, reply.class_) for reply in full} == {(503, "spool_full")}
    assert (small.status, large.status, len(large.body), after.status) == (200, 200, 8 * MIB, 200)
    assert counted == 5
    assert xero.executed == {"small": 1, "large": 1, "after": 1}
    assert xero.bytes["after"] == MIB
    assert not left_in(tmp_path)


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())
