"""One connection to Redis or Valkey: calls of the script, pipelined, each answered in time or not at all.

The calls of a turn of the event loop are written together and answered in their order; nobody waits for
somebody else's batch. Whatever goes wrong ends the connection, and all calls that are under way are told
what it was: a connection on which something failed says nothing about what became of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from proxy.clock import Clock, Timer
from proxy.stores.lua import SHA, SOURCE
from proxy.stores.script import Arguments

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
    "NOPERM": "auth",
    "NOREPLICAS": "noreplicas",
    "OOM": "oom",
    "READONLY": "readonly",
    "TRYAGAIN": "tryagain",
    "WRONGPASS": "auth",
}
"""What a server says when it cannot do as asked, and what operators are told."""
OTHER_REASONS = ("closed", "error", "flushed", "lapsed", "lost", "timeout", "unreachable")
"""What it can be besides."""
_NAMED, _WHOLE = (b"EVALSHA", SHA.encode()), (b"EVAL", SOURCE.encode())
_CODE = re.compile(r"(?:^|-)([A-Z]{4,})\b")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer: one of `REASONS` or `OTHER_REASONS`, and never what the server said, which can
    quote what it was asked.
    """

    reason: str


@dataclass(slots=True)
class _Call:
    arguments: Arguments
    asked_at: float
    answer: asyncio.Future[Any]
    whole: bool = False
    """Whether the script itself was sent, not its name."""


class Link:
    """A connection to `url`; `timeout` in seconds is for connecting and for each call, `namespace` the one
    key of every call. `open` comes first and `close` last. When the connection is of no use any more `lost`
    is called, once and before any call learns of it, and `over` is done.
    """

    def __init__(
        self, url: str, namespace: str, *, timeout: float, clock: Clock, lost: Callable[[Trouble], None]
    ) -> None:
        self._connection = connection(url)
        self._namespace = namespace.encode()
        self._timeout = timeout
        self._clock = clock
        self._lost = lost
        self._calls: deque[_Call] = deque()
        self._out: list[bytes] = []
        self._more = asyncio.Event()
        self._timer: Timer | None = None
        self._armed_for = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self.over: asyncio.Future[Trouble] = asyncio.get_running_loop().create_future()

    async def open(self) -> Trouble | None:
        """Connect, with TLS and a login where the URL says so."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # the library left it so
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            trouble = Trouble(reason_of(error, "unreachable"))
            self.fail(trouble)
            return trouble
        self._tasks = [asyncio.create_task(each) for each in (self._write(), self._read())]
        return None

    def call(self, arguments: Arguments, asked_at: float | None = None) -> asyncio.Future[Any]:
        """Let the script run; the future's result is its reply, or a `Trouble`. To be called in the order in
        which the script is to see the calls. The time for the answer runs from `asked_at`, or from now.
        """
        answer = asyncio.get_running_loop().create_future()
        if self.over.done():
            answer.set_result(self.over.result())
        else:
            self._send(_Call(arguments, self._clock.now() if asked_at is None else asked_at, answer))
        return answer

    def fail(self, trouble: Trouble) -> None:
        """Give the connection up because of `trouble`."""
        if self.over.done():
            return
        self.over.set_result(trouble)
        self._lost(trouble)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        while self._calls:
            _tell(self._calls.popleft(), trouble)

    async def close(self) -> None:
        """Leave the server; calls that are under way are told that it is over."""
        self.fail(Trouble("closed"))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)

    def _send(self, call: _Call) -> None:
        self._out.append(
            _packed([*(_WHOLE if call.whole else _NAMED), b"1", self._namespace, *call.arguments])
        )
        self._calls.append(call)
        self._more.set()
        if self._timer is None or call.asked_at < self._armed_for:
            self._arm(last=False)

    async def _write(self) -> None:
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                out, self._out = self._out, []
                await self._connection.send_packed_command(out, check_health=False)
        except (RedisError, OSError) as error:
            self.fail(Trouble(reason_of(error, "lost")))

    async def _read(self) -> None:
        while not self.over.done():
            try:
                reply = await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
            except ResponseError as error:
                self._refused(error)
            except (RedisError, OSError) as error:
                self.fail(Trouble(reason_of(error, "lost")))
            else:
                _tell(self._calls.popleft(), reply)

    def _refused(self, error: ResponseError) -> None:
        call = self._calls[0]
        if isinstance(error, NoScriptError) and not call.whole:
            self._calls.popleft()
            call.whole = True
            self._send(call)
        else:
            self.fail(Trouble(reason_of(error, "error")))

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


def _packed(command: Sequence[bytes]) -> bytes:
    """As the client does it, for texts that are bytes already, in a fraction of its time."""
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def _tell(call: _Call, result: Sequence[Any] | Trouble) -> None:
    if not call.answer.done():  # whoever asked may have been cancelled
        call.answer.set_result(result)


def reason_of(error: Exception, otherwise: str) -> str:
    """What operators are told of `error`; `otherwise` where the connection itself failed."""
    if isinstance(error, (TimedOut, TimeoutError)):
        return "timeout"
    # Servers before 7 wrap what a script met: "ERR Error running script (…): …: -OOM command not allowed …".
    codes = [getattr(error, "status_code", None) or "", *_CODE.findall(str(error))]
    known = [REASONS[code] for code in codes if code in REASONS]
    if known:
        return known[0]
    return otherwise if isinstance(error, (Unconnected, OSError)) else "error"
