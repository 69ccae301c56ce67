"""An origin that misbehaves by a script, and keeps a ledger: one line for each request it executed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum

from config.values import Origin
from proxy.clock import Clock
from tests.sockets import OK, read_request, reset_on_close, serving, without_body

WRITES = {"POST", "PUT", "PATCH"}


class Then(Enum):
    """What follows what an origin says."""

    KEEP = "waits for the next request"
    CLOSE = "closes with a FIN"
    RESET = "closes with a RST"
    HANG = "says nothing more, and keeps the connection"
    REPEAT = "says the same again every second"


@dataclass(frozen=True, slots=True)
class Act:
    """What the origin does with one request: whether it `executes` it, the bytes it `sends` `after` so many
    seconds, and what it does `then`.
    """

    sends: bytes = OK
    then: Then = Then.KEEP
    executes: bool = True
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One executed request; `key` is its idempotency key, empty where it had none."""

    method: str
    target: str
    key: str


@dataclass
class Ledger:
    """What an origin saw: each request whole, each one executed, and each connection."""

    address: Origin
    requests: list[bytes] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def keys(self) -> set[str]:
        """The idempotency keys that arrived, on whatever was executed or not."""
        return {_line(raw).key for raw in self.requests}

    def executed(self, method: str = "", target: str = "") -> int:
        """How many requests were executed, of this method and with this in their target."""
        return sum(line.method == (method or line.method) and target in line.target for line in self.lines)

    def note(self, raw: bytes, *, executes: bool) -> None:
        """Enter an arrived request; one whose key was executed before is not executed again."""
        self.requests.append(raw)
        line = _line(raw)
        again = line.key and line.method in WRITES and line.key in {each.key for each in self.lines}
        if executes and not again:
            self.lines.append(line)


def _line(raw: bytes) -> Line:
    first, *fields = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    method, target, _ = first.decode().split(" ")
    named = {name.lower(): value for name, _, value in (each.partition(b": ") for each in fields)}
    return Line(method, target, named.get(b"idempotency-key", b"").decode())


@contextlib.asynccontextmanager
async def misbehaving(
    *script: Act, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Ledger]:
    """An origin that takes one act of `script` for each request, and answers 200 after the last."""
    acts = list(script)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = Clock()
        ledger.writers.append(writer)
        then = Then.KEEP
        while then is Then.KEEP:
            raw = await read_request(reader)
            act = acts.pop(0) if acts else Act()
            ledger.note(raw, executes=act.executes)
            await clock.sleep_until(clock.now() + act.after)
            writer.write(without_body(raw, act.sends))
            await writer.drain()
            then = act.then
            await _end(then, act.sends, reader, writer)

    async with serving(converse, tls, host, port) as address:
        ledger = Ledger(address)
        yield ledger


async def _end(then: Then, said: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    clock = Clock()
    match then:
        case Then.RESET:
            reset_on_close(writer.get_extra_info("socket"))
            writer.transport.abort()
        case Then.HANG:
            await reader.read()  # ends with the connection
        case Then.REPEAT:
            while not writer.is_closing():
                await clock.sleep_until(clock.now() + 1.0)
                writer.write(said)
                await writer.drain()
        case Then.KEEP | Then.CLOSE:
            pass
