"""Sends rows through a proxy that stands before a recording origin, and tells what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from unittest.mock import patch

import looptime

from config.values import Origin
from proxy.clock import Clock
from proxy.core.wire.strict import Own
from tests.corpus.rows import Row
from tests.corpus.strict import Incomplete, Malformed, Message, read_request
from tests.e2e.harness import Running, request, sidecar
from tests.sockets import serving

T = TypeVar("T")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
SILENCE = 600.0
"""Seconds without a byte after which a connection hangs: longer than every timeout of the proxy."""
GOOD = request(b"GET /good", b"Connection: close")
ASKED = request(b"GET /api.xro/2.0/Contacts", b"Connection: close")
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-9][0-9]{2})[ \r]")


@dataclass(frozen=True, slots=True)
class Answered:
    """All bytes that a caller received, and how its connection ended: `closed`, `reset` or `hung`."""

    received: bytes
    end: str

    @property
    def statuses(self) -> list[int]:
        """The status of each final answer."""
        return [int(status) for status in _STATUS.findall(self.received)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row.

    `malformed` is what the origin got that is no request; `alive`, whether a good request was answered then.
    """

    answered: Answered
    forwarded: tuple[Message, ...]
    malformed: str
    alive: bool

    @property
    def desynchronised(self) -> bool:
        """Whether the origin saw more requests than the proxy, which has one answer for each."""
        bare = bool(self.answered.received) and not self.answered.received.startswith(b"HTTP/")
        return len(self.forwarded) > self.answered.statuses.count(200) + bare

    def __str__(self) -> str:
        """The statuses of the answers, and the connection's end where there is none."""
        return " ".join(map(str, self.answered.statuses)) or self.answered.end


@dataclass
class Recorder:
    """An origin that reads strictly. It answers `answer` and closes unless it `keeps`, or 200 for None."""

    address: Origin
    requests: list[Message] = field(default_factory=list)
    malformed: str = ""
    answer: bytes | None = None
    keeps: bool = False
    cut: bool = False
    halves: int = 0
    """Requests that were begun and not ended."""

    def take(self) -> tuple[tuple[Message, ...], str]:
        """What was recorded, once."""
        taken = tuple(self.requests), self.malformed
        self.requests, self.malformed = [], ""
        return taken

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Record what comes and answer it."""
        data = b""
        while piece := await reader.read(65536):
            data += piece
            while data:
                try:
                    one, data = read_request(data)
                except Incomplete:
                    break
                except Malformed as error:
                    self.malformed = f"{error}: {data!r}"
                    return
                if not await self._respond(one, writer):
                    return
        self.halves += bool(data)

    async def _respond(self, one: Message, writer: asyncio.StreamWriter) -> bool:
        """Answer, and return whether the connection stays."""
        good = one.target == b"/good"
        if not good:
            self.requests.append(one)
        if self.answer is None or good:
            writer.write(OK if one.method == b"HEAD" else OK + b"ok")
        else:
            await write(writer, self.answer, cut=self.cut)
        await writer.drain()
        return self.answer is None or good or self.keeps


@contextlib.asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """A recording origin."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.converse(reader, writer)

    async with serving(converse) as address:
        one = Recorder(address)
        yield one


async def write(writer: asyncio.StreamWriter, raw: bytes, *, cut: bool) -> None:
    """Write at once; or `cut` after each CR, and let everything that can happen between two pieces happen."""
    clock = Clock()
    for piece in re.split(rb"(?<=\r)", raw) if cut else [raw]:
        writer.write(piece)
        for _ in range(3):
            await clock.sleep_until(0)


async def exchange(port: int, raw: bytes, silence: float = SILENCE, *, cut: bool = False) -> Answered:
    """Send, and read until the proxy closes or is silent for too long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received, end = b"", "closed"
    try:
        await write(writer, raw, cut=cut)
        while piece := await asyncio.wait_for(reader.read(65536), silence):
            received += piece
    except TimeoutError:
        end = "hung"
    except ConnectionError:
        end = "reset"
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return Answered(received, end)


async def run(
    port: int, origin: Recorder, rows: Iterable[Row], silence: float = SILENCE, *, cut: bool = False
) -> dict[str, Outcome]:
    """Send each row on a connection of its own, and after it a good request on another."""
    outcomes = {}
    for row in rows:
        answered = await exchange(port, row.raw, silence, cut=cut)
        alive = await exchange(port, GOOD, silence)
        outcomes[row.id] = Outcome(answered, *origin.take(), alive=alive.received.endswith(b"\r\n\r\nok"))
    return outcomes


def run_requests(rows: Iterable[Row], names: frozenset[bytes], *, cut: bool = False) -> dict[str, Outcome]:
    """What a sidecar does with requests, whole or `cut` into pieces; `names` are public names of its own."""

    async def main() -> dict[str, Outcome]:
        async with recorder() as origin, _unlimited(origin) as proxy:
            downstream = proxy.car._downstream
            downstream.own = Own(downstream.own.hosts | names)
            with patch("proxy.core.answers.route.has_credentials", return_value=True):  # no row has any
                outcomes = await run(proxy.car.port, origin, rows, cut=cut)
        assert not origin.halves
        return outcomes

    return in_virtual_time(main)


def run_responses(rows: Iterable[Row], *, keeps: bool = False, cut: bool = False) -> dict[str, Outcome]:
    """What becomes of responses to a good request, where the origin closes after them or `keeps` open."""

    async def main() -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        async with recorder() as origin, _unlimited(origin, retry_attempts=1) as proxy:
            origin.keeps, origin.cut = keeps, cut
            for row in rows:
                origin.answer = row.raw
                asked = replace(row, raw=ASKED)
                outcomes |= await run(proxy.car.port, origin, [asked])
                await proxy.passes(SILENCE)  # until no hold is left of it
        return outcomes

    return in_virtual_time(main)


def _unlimited(origin: Recorder, **settings: object) -> contextlib.AbstractAsyncContextManager[Running]:
    return sidecar(str(origin.address), tenant_day_limit=1_000_000, **settings)


def in_virtual_time(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run over real sockets in a loop whose time jumps over every wait."""
    loop = looptime.new_event_loop(start=0.0)
    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
