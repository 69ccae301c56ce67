"""Every store as the contract's tests use it: a name, and how to open one that is empty."""

from __future__ import annotations

import contextlib
import uuid
from asyncio import Event
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry

from proxy.clock import Clock
from proxy.core.answers.idempotency import Keys
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Effects, Permit, Settlement
from proxy.core.limits.holds import HoldChange, HoldTimes
from proxy.core.model import Remaining, ResponseClass
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores import Store
from proxy.stores.memory import MemoryStore
from proxy.stores.redis import RedisStore
from proxy.stores.session import Server
from proxy.stores.sqlite import SqliteStore
from tests.inprocess import SILENT
from tests.strict_xero import OK

ASK = Ask("app", "tenant", "accounting")


class Ears:
    """`proxy.stores.Heard` that remembers."""

    def __init__(self) -> None:
        self.more = False
        self.effects: dict[int, Effects] = {}
        self.rooms: list[tuple[str, str | None]] = []
        self.changes: list[HoldChange] = []
        self._news = Event()

    def waiting(self, _ask: Ask) -> bool:
        return self.more

    def settled(self, permit: Permit, effects: Effects) -> None:
        self.effects[permit.number] = effects
        self._news.set()

    def released(self, app: str, tenant: str | None) -> None:
        self.rooms.append((app, tenant))
        self._news.set()

    def hold_changed(self, change: HoldChange) -> None:
        self.changes.append(change)
        self._news.set()

    async def until(self, heard: Callable[[], bool]) -> None:
        while not heard():
            self._news.clear()
            await self._news.wait()


class Opened:
    """A store that has started, and what it tells."""

    def __init__(self, store: Store, ears: Ears, clock: Clock, *, tells_later: bool) -> None:
        self.store = store
        self.ears = ears
        self.clock = clock
        self._tells_later = tells_later

    async def permit(self, ask: Ask = ASK) -> Permit:
        decision = await self.store.acquire(ask)
        assert isinstance(decision, Permit), decision
        return decision

    async def denial(self, ask: Ask = ASK) -> Denial:
        decision = await self.store.acquire(ask)
        assert isinstance(decision, Denial), decision
        return decision

    async def settle(
        self,
        permit: Permit,
        row: ResponseClass = OK,
        remaining: Remaining | None = None,
        *,
        sent: bool = True,
        retry_after: float | None = None,
        ended: bool = True,
    ) -> Effects:
        """All effects, be they known at once or later."""
        settlement = Settlement(row, sent, self.clock.now(), remaining or Remaining(), retry_after)
        effects = await self.store.settle(permit, settlement, ended=ended)
        if not self._tells_later:
            return effects
        assert not effects.holds
        await self.ears.until(lambda: permit.number in self.ears.effects)
        return self.ears.effects[permit.number]


Open = Callable[[Caps, HoldTimes], AbstractAsyncContextManager[Opened]]


@contextlib.asynccontextmanager
async def memory(caps: Caps, times: HoldTimes) -> AsyncIterator[Opened]:
    clock, ears = Clock(), Ears()
    store = MemoryStore(caps, times, clock, Random(0))
    await store.start(ears)
    yield Opened(store, ears, clock, tells_later=False)
    await store.close()


def redis_store(url: str, caps: Caps, times: HoldTimes, **options: str) -> RedisStore:
    """One replica; `options` are `prefix` and `app_id`."""
    telemetry = StoreTelemetry(CollectorRegistry(), SILENT)
    names = {"prefix": uuid.uuid4().hex, "app_id": "", **options}
    return RedisStore(Server(url, 5.0), caps, times, Clock(), Random(), telemetry, **names)


@contextlib.asynccontextmanager
async def redis(url: str, caps: Caps, times: HoldTimes, **options: str) -> AsyncIterator[Opened]:
    ears, store = Ears(), redis_store(url, caps, times, **options)
    await store.start(ears)
    assert store.health().up
    yield Opened(store, ears, Clock(), tells_later=True)
    await store.close()


@contextlib.asynccontextmanager
async def sqlite(path: Path, caps: Caps, times: HoldTimes) -> AsyncIterator[Opened]:
    clock, ears, telemetry = Clock(), Ears(), StoreTelemetry(CollectorRegistry(), SILENT)
    store = SqliteStore(caps, times, clock, Random(0), path=path, keys=Keys(), telemetry=telemetry)
    await store.start(ears)
    yield Opened(store, ears, clock, tells_later=False)
    await store.close()
