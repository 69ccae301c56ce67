"""One organisation of the strict simulator, called without a network and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from proxy.clock import Clock
from proxy.simulator.answers import Answer, SimRequest
from proxy.simulator.options import Options
from proxy.simulator.windows import WindowKind
from proxy.simulator.xero import Xero
from tests.fakes import VirtualLoop

TENANT = "00000000-0000-4000-8000-000000000001"
HEADERS = (
    (b"Authorization", b"Bearer opaque"),
    (b"Xero-Tenant-Id", TENANT.encode()),
    (b"Accept", b"application/json"),
)
CALL = SimRequest("GET", "/api.xro/2.0/Organisation", HEADERS)
OK, TOO_MANY = 200, 429

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured under: the kind of window, somebody else's calls a minute, latency and jitter in
    seconds. The limits are Xero's own.
    """

    windows: WindowKind
    foreign_per_minute: float
    latency: tuple[float, float] = (0.05, 0.3)
    jitter: float = 0.15


@dataclass(slots=True)
class Arrivals:
    """When calls arrived: ours that were accepted, somebody else's, and how many of ours met a 429."""

    ours: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    first: float = float("inf")
    refused: int = 0


class Organisation:
    """Takes calls; each travels, arrives, is decided at that moment, and is answered later."""

    def __init__(self, setting: Setting, clock: Clock, seed: int) -> None:
        options = Options(windows=setting.windows, latency=setting.latency, jitter=setting.jitter)
        self.clock = clock
        self.arrivals = Arrivals()
        self.xero = Xero(options, Random(seed))
        self._random = Random(seed)
        self._gap = 60.0 / setting.foreign_per_minute if setting.foreign_per_minute else None

    async def call(self, request: SimRequest = CALL) -> Answer:
        """One call of ours."""
        await self.clock.sleep_until(self.clock.now() + self.xero.transit())
        now = self.clock.now()
        begun = self.xero.arrive(request, now)
        self.arrivals.first = min(self.arrivals.first, now)
        if begun.answer.status == TOO_MANY:
            self.arrivals.refused += 1
        else:
            self.arrivals.ours.append(now)
        await self.clock.sleep_until(begun.done_at)
        self.xero.finish(begun, self.clock.now())
        return begun.answer

    async def somebody_else(self) -> None:
        """Call at random, for ever, and never again where it was refused."""
        while self._gap is not None:
            await self.clock.sleep_until(self.clock.now() + self._random.expovariate(1.0) * self._gap)
            now = self.clock.now()
            if self.xero.foreign_call(TENANT, now):
                self.arrivals.foreign.append(now)


class _Loop(VirtualLoop):
    """Threads run at once and in no time: a real one would race against time that jumps."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        del executor
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    loop = _Loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
