"""Keeping in touch with the server: the connection, the lease that a beat renews, and what others tell.

While the server answers, `joined` has given out a `Link`; as soon as that is over `fell` is called, before
any call on it learns that, and the next connection is tried beside all else. The subscription has a
connection of its own, and its loss is no trouble: whoever waits asks again now and then anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from redis.exceptions import RedisError

from proxy.clock import Clock
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores.link import Link, Trouble, connection
from proxy.stores.script import Beat, Script

BEAT_SECONDS = 2.0
PAUSE_SECONDS = 1.0
"""Longest pause before another connection is tried."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is: `url` holds the password. `timeout` in seconds is for a whole decision."""

    url: str = field(repr=False)
    timeout: float


class Session:
    """Connects again and again. `joined` gets a connection on which the first beat was answered, `beaten`
    every later beat, `fell` the end of that connection (or that none came about), `told` what is published.
    `held` says which permits this replica has not settled.
    """

    def __init__(
        self,
        server: Server,
        script: Script,
        clock: Clock,
        random: Random,
        telemetry: StoreTelemetry,
        *,
        joined: Callable[[Link, Beat], None],
        beaten: Callable[[Beat], None],
        fell: Callable[[Trouble], None],
        told: Callable[[bytes], None],
        held: Callable[[], Iterable[int]],
    ) -> None:
        self._server = server
        self._script = script
        self._clock = clock
        self._random = random
        self._telemetry = telemetry
        self._joined = joined
        self._beaten = beaten
        self._fell = fell
        self._told = told
        self._held = held
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Try once to connect, and go on with that beside. Raises OSError where the URL cannot be used."""
        connection(self._server.url)
        tried = asyncio.Event()
        self._tasks = [asyncio.create_task(self._keep(tried)), asyncio.create_task(self._listen())]
        await tried.wait()

    async def close(self) -> None:
        """Connect no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, tried: asyncio.Event) -> None:
        while True:
            began = self._clock.now()
            link = Link(
                self._server.url,
                self._script,
                timeout=self._server.timeout,
                clock=self._clock,
                lost=self._fell,
            )
            try:
                if not await link.open():
                    await self._live(link, tried)
            except Exception as error:  # noqa: BLE001 - what cannot be read now may be readable later
                _report("a reply of the shared store", error)
                link.fail(Trouble("error"))
            finally:
                await link.close()
                tried.set()
            if self._clock.now() - began < PAUSE_SECONDS:  # else the connection was good for something
                await self._pause()

    async def _live(self, link: Link, tried: asyncio.Event) -> None:
        """Beat until the connection is over."""
        epoch = ""
        while (beat := await self._beat(link, None if epoch else self._held())) is not None:
            if link.over.done():
                return  # in the turn in which it answered: what has fallen shall not be joined
            if not epoch:
                epoch = beat.epoch
                self._joined(link, beat)
                tried.set()
            elif beat.lapsed or beat.epoch != epoch:
                link.fail(Trouble("lapsed" if beat.epoch == epoch else "flushed"))
            else:
                self._beaten(beat)
            await asyncio.wait([link.over], timeout=0 if beat.more else BEAT_SECONDS)

    async def _beat(self, link: Link, held: Iterable[int] | None) -> Beat | None:
        began = self._clock.now()
        reply = await link.call(partial(self._script.beat, held=held))
        if isinstance(reply, Trouble):
            self._telemetry.failed("beat")
            return None
        self._telemetry.operation("beat", "beaten", self._clock.now() - began)
        return self._script.beaten(reply)

    async def _listen(self) -> None:
        while True:
            ears = connection(self._server.url)
            try:
                async with asyncio.timeout(self._server.timeout):
                    await ears.connect()  # type: ignore[no-untyped-call]  # the library left it so
                    await ears.send_command("SUBSCRIBE", *self._script.channels)
                while True:
                    match await ears.read_response(disable_decoding=True):
                        case [b"message", _, bytes(message)]:
                            self._told(message)
            except (RedisError, OSError):
                pass
            except Exception as error:  # noqa: BLE001 - the next message may be one that can be followed
                _report("news of the shared store", error)
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await ears.disconnect(nowait=True)
            await self._pause()

    async def _pause(self) -> None:
        seconds = PAUSE_SECONDS * (0.5 + self._random.random() / 2)
        await self._clock.sleep_until(self._clock.now() + seconds)


def _report(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
