"""A store that answers over a network, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import TypeVar

from proxy.clock import Clock
from proxy.core.limits.decision import Ask, Denial, Effects, Forecast, Permit, Settlement
from proxy.core.limits.holds import HoldChange
from proxy.core.model import AppView, HoldKey, HoldView, Left, StoreView, TenantView
from proxy.stores import Heard
from proxy.stores.memory import MemoryStore

T = TypeVar("T")


class SlowStore:
    """A store that answers over a network: every call suspends, before and after it has its effect."""

    def __init__(self, inner: MemoryStore, clock: Clock, random: Random, longest: float) -> None:
        self._inner = inner
        self._clock = clock
        self._random = random
        self.longest = longest
        self.busy = 0

    async def start(self, heard: Heard) -> None:
        await self._inner.start(heard)

    async def close(self) -> None:
        await self._inner.close()

    async def acquire(self, ask: Ask) -> Permit | Denial:
        return await self._slowly(lambda: self._inner.acquire(ask))

    @staticmethod
    def acquire_now(_ask: Ask) -> None:
        """Never without a wait."""

    async def settle(self, permit: Permit, settlement: Settlement, *, ended: bool = True) -> Effects:
        return await self._slowly(lambda: self._inner.settle(permit, settlement, ended=ended))

    def release(self, permit: Permit) -> None:
        self._inner.release(permit)

    def let_go(self, permit: Permit) -> list[HoldChange]:
        return self._inner.let_go(permit)

    async def clear(self, key: HoldKey) -> HoldChange | None:
        return await self._slowly(lambda: self._inner.clear(key))

    def forecast(self, ask: Ask, ahead: int) -> Forecast:
        return self._inner.forecast(ask, ahead)

    def left(self, ask: Ask) -> Left:
        return self._inner.left(ask)

    def view(self) -> tuple[Iterator[TenantView], Iterator[AppView], Iterator[HoldView]]:
        return self._inner.view()

    def health(self) -> StoreView:
        return self._inner.health()

    async def _slowly(self, call: Callable[[], Awaitable[T]]) -> T:
        self.busy += 1
        try:
            await self._pause()
            result = await call()
            await self._pause()
        finally:
            self.busy -= 1
        return result

    async def _pause(self) -> None:
        seconds = self._random.choice((0.0, 0.0, self._random.random())) * self.longest
        await self._clock.sleep_until(self._clock.now() + seconds)
