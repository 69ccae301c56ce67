"""One connection to Redis or Valkey: calls of the scripts, pipelined, each answered in time or not at all.

redis-py makes the connection, by its URL, with TLS and login; from then on its bytes are written and read
here, in the turn of the event loop in which a call is made or its reply arrives. What is called later in that
turn is written together at its end. Whatever goes wrong ends the connection, and all calls that are under
way are told what it was: a connection on which something failed says nothing about what became of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from proxy.clock import Clock, Timer
from proxy.stores.resp import Refused, Replies, Reply, packed
from proxy.stores.script import Arguments, Script

LAST_LOOK_SECONDS = 0.02
"""Before a call is given up what has arrived is read, lest this process's own slowness be taken for the
server's.
"""
REASONS = {
    "AUTH": "auth",
    "BUSY": "busy",
    "CLUSTERDOWN": "clusterdown",
    "LOADING": "loading",
    "MASTERDOWN": "masterdown",
    "MISCONF": "misconf",
    "MOVED": "moved",
    "NOAUTH": "auth",
    "NOPERM": "noperm",
    "NOREPLICAS": "noreplicas",
    "OOM": "oom",
    "READONLY": "readonly",
    "TRYAGAIN": "tryagain",
    "WRONGPASS": "auth",
}
"""What a server says when it cannot do as asked, and what operators are told."""
OTHER_REASONS = ("closed", "error", "flushed", "lapsed", "lost", "timeout", "unreachable")
"""What it can be besides."""
_CODE = re.compile(r"(?:^|-)([A-Z]{3,})\b")
_WORDS = {
    "unauthenticated": "auth",  # of a long command, without a password
    "ACL failure in script": "noperm",
    "The user executing the script can't": "noperm",
}
"""What a server says without a code of its own: of Redis, of Valkey and of both."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer: one of `REASONS` or `OTHER_REASONS`, and never what the server said, which can
    quote what it was asked.
    """

    reason: str


@dataclass(slots=True)
class _Call:
    arguments: Callable[[], Arguments]
    asked_at: float
    answer: asyncio.Future[Any]
    whole: bool = False
    """Whether the script itself was sent, not its name."""


class Link(asyncio.Protocol):
    """A connection to `url`, for calls of `script`; `timeout` in seconds is for connecting and for each call.
    `open` comes first and `close` last. When the connection is of no use any more `lost` is called, once and
    before any call learns of it, and `over` is done.
    """

    def __init__(
        self, url: str, script: Script, *, timeout: float, clock: Clock, lost: Callable[[Trouble], None]
    ) -> None:
        self._connection = connection(url)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport
        self._script = script
        self._key = script.namespace.encode()
        self._timeout = timeout
        self._clock = clock
        self._lost = lost
        self._calls: deque[_Call] = deque()
        self._out: list[_Call] = []
        self._batching = False
        self._loaded: set[bytes] = set()
        """Operations whose script was sent on this connection. Were it found out by a refusal that the server
        lacks it, other calls would go before the one that was refused.
        """
        self._replies = Replies()
        self._timer: Timer | None = None
        self._armed_for = 0.0
        self.over: asyncio.Future[Trouble] = self._loop.create_future()

    async def open(self) -> Trouble | None:
        """Connect, with TLS and a login where the URL says so."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # the library left it so
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            trouble = Trouble(reason_of(error, "unreachable"))
            self.fail(trouble)
            return trouble
        writer: Any = self._connection._writer  # noqa: SLF001 - the library has no other way to its transport
        self._transport = writer.transport
        self._transport.set_protocol(self)
        return None

    def call(
        self, arguments: Callable[[], Arguments], asked_at: float | None = None, *, urgent: bool = True
    ) -> asyncio.Future[Any]:
        """Let a script run; the future's result is its reply, or a `Trouble`. To be called in the order in
        which the server is to see the calls. The time for the answer runs from `asked_at`, or from now.
        `arguments` makes them at the moment of sending, at the end of this turn of the loop if not `urgent`.
        """
        answer = self._loop.create_future()
        if self.over.done():
            answer.set_result(self.over.result())
        else:
            call = _Call(arguments, self._clock.now() if asked_at is None else asked_at, answer)
            self._send(call, urgent=urgent)
        return answer

    def fail(self, trouble: Trouble) -> None:
        """Give the connection up because of `trouble`."""
        if self.over.done():
            return
        self.over.set_result(trouble)
        self._lost(trouble)
        if self._timer is not None:
            self._timer.cancel()
        self._out.clear()
        while self._calls:
            _tell(self._calls.popleft(), trouble)

    async def close(self) -> None:
        """Leave the server; calls that are under way are told that it is over."""
        self.fail(Trouble("closed"))
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Replies arrive, in the order of the calls."""
        if self.over.done():
            return
        try:
            replies = self._replies.read(data)
        except ValueError:
            self.fail(Trouble("error"))
            return
        for reply in replies:
            if not self._calls:  # nobody asked, or all were told of a failure just now
                self.fail(Trouble("error"))
            elif isinstance(reply, Refused):
                self._refused(self._calls.popleft(), reply)
            else:
                _tell(self._calls.popleft(), reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has gone."""
        self.fail(Trouble(reason_of(exc or ConnectionError(), "lost")))

    def _send(self, call: _Call, *, urgent: bool) -> None:
        self._calls.append(call)
        self._out.append(call)
        if self._timer is None or call.asked_at < self._armed_for:
            self._arm(last=False)
        if not self._batching:
            self._batching = True
            self._loop.call_soon(self._end_batch)
            if urgent:
                self._flush()

    def _end_batch(self) -> None:
        self._batching = False
        if self._out:
            self._flush()

    def _flush(self) -> None:
        written = b"".join(map(self._command, self._out))
        self._out.clear()
        self._transport.write(written)

    def _command(self, call: _Call) -> bytes:
        operation, *arguments = call.arguments()
        source, call.whole = self._script.sources[operation], operation not in self._loaded
        self._loaded.add(operation)
        begin = (b"EVAL", source.text) if call.whole else (b"EVALSHA", source.sha)
        return packed([*begin, b"1", self._key, *arguments])

    def _refused(self, call: _Call, refused: Refused) -> None:
        if refused.text.startswith("NOSCRIPT") and not call.whole:
            self._loaded.clear()
            self._send(call, urgent=True)
        else:
            self._calls.appendleft(call)
            self.fail(Trouble(reason_of(ResponseError(refused.text), "error")))

    def _arm(self, *, last: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = self._oldest()
        early = self._armed_for + self._timeout - LAST_LOOK_SECONDS
        at = self._clock.now() + LAST_LOOK_SECONDS if last else early
        self._timer = self._clock.call_at(at, lambda: self._due(last=last))

    def _due(self, *, last: bool) -> None:
        """Look whether the oldest call has had its time."""
        self._timer = None
        if not self._calls:
            return
        if self._clock.now() < self._oldest() + self._timeout - LAST_LOOK_SECONDS:
            self._arm(last=False)
        elif last:
            self.fail(Trouble("timeout"))
        else:
            self._arm(last=True)

    def _oldest(self) -> float:
        return min(call.asked_at for call in self._calls)  # one that is made again comes behind newer ones


def connection(url: str) -> Connection:
    """A connection that `url` describes, yet to be made. Raises OSError where it describes none."""
    try:
        options: dict[str, Any] = dict(parse_url(url))
        kind: type[Connection] = options.pop("connection_class", Connection)
        options |= {"protocol": 2, "driver_info": None, "socket_timeout": None}
        return kind(**options)
    except (RedisError, TypeError, ValueError):
        # The reason can quote a part of the URL, which holds the password.
        raise OSError("XERO_PROXY_REDIS_URL has a part that Redis clients do not know") from None


async def reach(url: str, patience: float) -> str:
    """Connect, with a login where `url` has one, and ask for a sign of life; why there was none
    within `patience` seconds.
    """
    try:
        one = connection(url)
    except OSError as error:
        return str(error)
    try:
        async with asyncio.timeout(patience):
            await one.connect()  # type: ignore[no-untyped-call]  # the library left it so
            await one.send_command("PING")
            await one.read_response()
    except (Unconnected, TimedOut) as error:
        return str(error)  # names the address and no more
    except (RedisError, OSError) as error:
        return f"The server answered, and refused: {reason_of(error, 'unreachable')}."
    finally:
        with contextlib.suppress(RedisError, OSError):
            await one.disconnect(nowait=True)
    return ""


def _tell(call: _Call, result: Reply | Trouble) -> None:
    if not call.answer.done():  # whoever asked may have been cancelled
        call.answer.set_result(result)


def reason_of(error: Exception, otherwise: str) -> str:
    """What operators are told of `error`; `otherwise` where the connection itself failed."""
    if isinstance(error, (TimedOut, TimeoutError)):
        return "timeout"
    # Servers before 7 wrap what a script met: "ERR Error running script (…): …: -OOM command not allowed …".
    said = str(error)
    codes = [getattr(error, "status_code", None) or "", *_CODE.findall(said)]
    known = [REASONS[code] for code in codes if code in REASONS]
    known += [reason for words, reason in _WORDS.items() if words in said]
    if known:
        return known[0]
    return otherwise if isinstance(error, (Unconnected, OSError)) else "error"
