"""What waits on disk, and what it takes."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.http.flow import Lost
from proxy.http.spool import BLOCK, MEMORY, PIECE, OnDisk, Spool, SpoolFile, SpoolFull


def test_a_spool_file_has_no_name_and_is_for_the_owner_only(tmp_path: Path) -> None:
    file = SpoolFile(str(tmp_path))
    details = os.fstat(file.fileno())
    assert list(tmp_path.iterdir()) == []
    assert (stat.S_IMODE(details.st_mode), details.st_nlink) == (0o600, 0)


def test_so_it_is_where_the_file_system_must_name_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    test_a_spool_file_has_no_name_and_is_for_the_owner_only(tmp_path)


def test_a_forgotten_file_is_closed() -> None:
    file = SpoolFile()
    descriptor = file.fileno()
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=12), st.lists(st.booleans(), max_size=24))
def test_what_goes_into_a_spool_comes_out_in_order_whoever_is_faster(
    pieces: list[bytes], turns: list[bool]
) -> None:
    async def run() -> None:
        spool = Spool(SpoolFile())
        out = b""
        left = [piece * (MEMORY // 20) for piece in pieces]
        sent = list(left)
        for put in turns:
            if put and left:
                await spool.put(left.pop(0))
            elif len(out) < sum(map(len, sent[: len(sent) - len(left)])):
                out += await spool.get()
        for piece in left:
            await spool.put(piece)
        spool.end()
        while data := await spool.get():
            out += data
        assert out == b"".join(sent)

    asyncio.run(run())


async def test_a_spool_that_cannot_be_written_makes_the_writer_wait_and_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(SpoolFile(str(tmp_path / "absent")))
    await spool.put(b"a" * MEMORY)
    writing = asyncio.create_task(spool.put(b"b"))
    assert await spool.get() == b"a" * MEMORY
    await writing
    assert await spool.get() == b"b"


async def test_nothing_overtakes_what_is_on_its_way_to_disk() -> None:
    spool = Spool(SpoolFile())
    assert spool.offer(b"a" * MEMORY)
    writing = asyncio.create_task(spool.put(b"b"))
    await Clock().sleep_until(0)
    assert await spool.get() == b"a" * MEMORY
    assert not spool.offer(b"c")
    await writing
    assert [await spool.get(), spool.offer(b"c"), await spool.get()] == [b"b", True, b"c"]


async def test_a_closed_spool_swallows_and_releases_its_writer(tmp_path: Path) -> None:
    spool = Spool(SpoolFile(str(tmp_path / "absent")))
    await spool.put(b"a" * MEMORY)
    writing = asyncio.create_task(spool.put(b"b"))
    spool.close()
    await writing
    await spool.put(b"c")
    assert await spool.get() == b""


async def test_a_spool_gives_out_what_came_before_the_error() -> None:
    spool = Spool(SpoolFile())
    await spool.put(b"a")
    spool.end(Lost())
    assert await spool.get() == b"a"
    with pytest.raises(Lost):
        await spool.get()


def on_disk(file: SpoolFile) -> int:
    """Bytes that the file system has for it."""
    return os.fstat(file.fileno()).st_blocks * 512


async def whole(body: OnDisk) -> bytes:
    read = b""
    while len(read) < body.size:
        read += await body.read(len(read))
    return read


async def test_bodies_in_one_file_are_each_their_own() -> None:
    file = SpoolFile()
    bodies = [OnDisk(file) for _ in range(20)]
    pieces = [os.urandom(PIECE + 7 * number) for number in range(20)]
    for _ in range(12):
        await asyncio.gather(*(body.append(piece) for body, piece in zip(bodies, pieces, strict=True)))
    for body in bodies[::2]:
        body.close()
    again = OnDisk(file)
    await again.append(b"again" * BLOCK)
    for body, piece in list(zip(bodies, pieces, strict=True))[1::2]:
        assert await whole(body) == piece * 12
    assert await whole(again) == b"again" * BLOCK
    assert file.held == sum(body.size for body in (*bodies[1::2], again))


async def test_what_was_read_is_given_back_to_the_disk_and_to_the_account() -> None:
    file = SpoolFile()
    spool = Spool(file)
    sent = MEMORY + 8 * BLOCK
    for _ in range(sent // PIECE):
        await spool.put(b"x" * PIECE)
    assert (file.held, on_disk(file)) == (8 * BLOCK, 8 * BLOCK)
    read = 0
    while read < MEMORY + 4 * BLOCK:
        read += len(await spool.get())
    assert file.held == 4 * BLOCK
    await until_given_back(file, 4 * BLOCK)
    while read < sent:
        read += len(await spool.get())
    assert file.held == 0
    await until_given_back(file, 0)
    assert spool.offer(b"in memory again")


async def until_given_back(file: SpoolFile, left: int) -> None:
    await asyncio.wait_for(_until_given_back(file, left), 20.0)


async def _until_given_back(file: SpoolFile, left: int) -> None:
    loop = asyncio.get_running_loop()
    while on_disk(file) > left:
        await loop.run_in_executor(None, int)


async def test_bodies_that_are_closed_are_given_back() -> None:
    file = SpoolFile()
    for _ in range(9):
        bodies = [OnDisk(file) for _ in range(4)]
        for body in bodies:
            await body.append(b"x" * (BLOCK + 1))
        assert file.held == 4 * (BLOCK + 1)
        for body in bodies:
            body.close()
            body.close()
        assert file.held == 0
        await until_given_back(file, 0)
    # Twice what was there at once: a round may begin before the loop hears that the last one's room is back.
    assert os.fstat(file.fileno()).st_size <= 16 * BLOCK


async def test_what_a_thread_is_busy_with_is_given_back_afterwards() -> None:
    file = SpoolFile()
    body = OnDisk(file)
    writing = asyncio.create_task(body.append(b"x" * BLOCK))
    await Clock().sleep_until(0)
    body.close()
    held = file.held
    await writing
    assert (held, file.held) == (BLOCK, 0)
    await until_given_back(file, 0)


async def test_nothing_is_written_beyond_the_limit() -> None:
    told: list[OSError] = []
    file = SpoolFile(None, 10, told.append)
    first, second = OnDisk(file), OnDisk(file)
    await first.append(b"1234567")
    for _ in range(3):
        with pytest.raises(SpoolFull):
            await second.append(b"1234")
    await second.append(b"123")
    assert (file.held, len(told)) == (10, 3)
    first.close()
    await second.append(b"4567890")
    assert await whole(second) == b"1234567890"
    with pytest.raises(SpoolFull):
        await second.append(b"1")
    assert len(told) == 4


@given(st.lists(st.sampled_from(["write", "read", "new", "close"]), max_size=40), st.integers(0, 6))
def test_whatever_comes_and_goes_the_account_is_right_and_everything_comes_out(
    course: list[str], most: int
) -> None:
    async def run() -> None:
        file = SpoolFile(None, most * BLOCK)
        bodies: list[tuple[OnDisk, bytes]] = []
        for number, step in enumerate(course):
            piece = bytes([number]) * (BLOCK // 3 * 2)
            match step:
                case "write" if bodies:
                    body, content = bodies.pop(0)
                    try:
                        await body.append(piece)
                        content += piece
                    except SpoolFull:
                        assert file.held + len(piece) > most * BLOCK
                    bodies.append((body, content))
                case "read" if bodies:
                    assert await whole(bodies[-1][0]) == bodies[-1][1]
                case "new":
                    bodies.append((OnDisk(file), b""))
                case "close" if bodies:
                    bodies.pop(0)[0].close()
            assert file.held == sum(len(content) for _, content in bodies) <= most * BLOCK
        for body, content in bodies:
            assert await whole(body) == content

    asyncio.run(run())
