from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.wire.framing import BadFraming
from proxy.http.body import Body, BodyProblem, BodyStore, Stalled
from proxy.http.flow import Lost
from proxy.http.spool import PIECE, SpoolFile


class Pieces:
    """A stream of given pieces, then perhaps an error."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.left = [*pieces]
        self.error = error

    async def read(self) -> bytes:
        if self.left:
            return self.left.pop(0)
        if self.error is not None:
            raise self.error
        return b""


async def whole(pieces: AsyncIterator[bytes | memoryview]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def kept(store: BodyStore, *pieces: bytes) -> Body:
    body = await store.keep(Pieces(*pieces), None)
    assert isinstance(body, Body)
    return body


async def test_a_small_body_stays_in_memory_and_replays_byte_for_byte() -> None:
    store = BodyStore(10, 100)
    body = await kept(store, b"abc", b"def")
    assert (body.size, body.in_memory) == (6, b"abcdef")
    assert await whole(body.pieces()) == await whole(body.pieces()) == b"abcdef"
    assert store.in_memory == 6
    body.close()
    body.close()
    assert store.in_memory == 0


async def test_a_large_body_goes_to_disk_and_replays_byte_for_byte() -> None:
    store = BodyStore(1000, 10_000_000)
    pieces = [os.urandom(100_000) for _ in range(12)]
    body = await kept(store, *pieces)
    assert (body.size, body.in_memory, store.in_memory) == (1_200_000, None, 0)
    assert await whole(body.pieces()) == await whole(body.pieces()) == b"".join(pieces)
    body.close()


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
async def test_large_bodies_in_memory_take_little_more_than_their_bytes_and_give_all_of_it_back() -> None:
    class Interleaved(Pieces):
        async def read(self) -> bytes:
            await asyncio.get_running_loop().run_in_executor(None, int)
            return await super().read()

    async def one() -> Body:
        body = await store.keep(Interleaved(*[b"x" * 60_000] * 15), None)
        assert isinstance(body, Body)
        return body

    store = BodyStore(1_000_000, 1_000_000)
    bytearray(8_000_000)  # after which glibc takes up to so much from the heap
    (await one()).close()
    before = resident()
    bodies = await asyncio.gather(*(one() for _ in range(50)))
    assert resident() - before < 50 * 900_000 * 1.15
    assert await whole(bodies[0].pieces()) == b"x" * 900_000
    for body in bodies:
        body.close()
    assert resident() - before < 50 * 900_000 * 0.2


async def test_an_empty_body_is_a_body() -> None:
    body = await kept(BodyStore(10, 10))
    assert (body.size, body.in_memory) == (0, b"")
    assert await whole(body.pieces()) == b""


async def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    stream = Pieces(b"x")
    assert await BodyStore(10, 10).keep(stream, 11) is BodyProblem.TOO_LARGE
    assert stream.left == [b"x"]


async def test_a_body_that_grows_over_the_limit_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    store = BodyStore(2, 10, SpoolFile(str(tmp_path)))
    assert await store.keep(Pieces(b"abc", b"defghij", b"k"), None) is BodyProblem.TOO_LARGE
    assert store.in_memory == 0


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (Lost(), BodyProblem.GONE),
        (Stalled(), BodyProblem.STALLED),
        (BadFraming(), BodyProblem.MALFORMED),
    ],
)
async def test_a_body_that_does_not_come_whole_is_a_problem(error: Exception, problem: BodyProblem) -> None:
    store = BodyStore(10, 100)
    assert await store.keep(Pieces(b"abc", error=error), None) is problem
    assert store.in_memory == 0


async def test_a_disk_that_cannot_be_written_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    store = BodyStore(2, 100, SpoolFile(str(tmp_path / "absent")))
    assert await store.keep(Pieces(b"abc"), None) is BodyProblem.STORAGE
    assert store.in_memory == 0


async def test_over_the_cap_of_memory_in_all_even_small_bodies_go_to_disk() -> None:
    store = BodyStore(100, 1000, memory_total=150)
    first = await kept(store, b"x" * 90)
    second = await kept(store, b"y" * 90)
    assert (first.in_memory is None, second.in_memory is None) == (False, True)
    assert await whole(second.pieces()) == b"y" * 90
    first.close()
    third = await kept(store, b"z" * 90)
    assert third.in_memory is not None


async def test_bodies_that_are_still_coming_count_towards_the_cap() -> None:
    store = BodyStore(1000, 100_000, memory_total=5_000)
    more = asyncio.Event()

    class Slow:
        def __init__(self) -> None:
            self.left = 9

        async def read(self) -> bytes:
            if not self.left:
                await more.wait()
                return b""
            self.left -= 1
            return b"x" * 100

    tasks = [asyncio.create_task(store.keep(Slow(), None)) for _ in range(50)]
    loop = asyncio.get_running_loop()
    for _ in range(200):
        await loop.run_in_executor(None, int)
    assert store.in_memory <= 5_000
    more.set()
    for body in await asyncio.gather(*tasks):
        assert isinstance(body, Body)
        assert await whole(body.pieces()) == b"x" * 900
        body.close()
    assert store.in_memory == 0


async def test_a_body_that_is_known_to_be_large_goes_to_disk_from_its_first_piece() -> None:
    store = BodyStore(1_000_000, 5_000_000)
    most = 0

    class Watched:
        """Comes in pieces of 64 KiB."""

        left = 40

        async def read(self) -> bytes:
            nonlocal most
            most = max(most, store.in_memory)
            self.left -= 1
            return b"x" * 65536 if self.left >= 0 else b""

    body = await store.keep(Watched(), 40 * 65536)
    assert isinstance(body, Body)
    assert (body.in_memory, body.size) == (None, 40 * 65536)
    assert most <= PIECE + 65536
