"""Limits and holds in this process alone. Its calls never suspend, so a decision is atomic."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Effects, Forecast, Limits, Permit, Settlement
from proxy.core.limits.holds import HoldChange, HoldTimes
from proxy.core.model import AppView, HoldKey, HoldView, Left, StoreView, TenantView
from proxy.stores import Heard


class MemoryStore:
    """`proxy.stores.Store` over `Limits` and the process's clock."""

    def __init__(self, caps: Caps, times: HoldTimes, clock: Clock, random: Random) -> None:
        self._limits = Limits(caps, times)
        self._clock = clock
        self._random = random

    async def start(self, heard: Heard) -> None:
        """Nothing is kept elsewhere."""

    async def close(self) -> None:
        """What is here ends with the process."""

    async def acquire(self, ask: Ask) -> Permit | Denial:
        """Charge all limits or none."""
        return self._limits.acquire(ask, self._clock.now())

    def acquire_now(self, ask: Ask) -> Permit | Denial:
        """The same, which never needs to wait here."""
        return self._limits.acquire(ask, self._clock.now())

    async def settle(self, permit: Permit, settlement: Settlement, *, ended: bool = True) -> Effects:
        """Account for what an attempt's answer means."""
        now, random = self._clock.now(), self._random.random()
        return self._limits.settle(permit, settlement, now, random, ended=ended)

    def release(self, permit: Permit) -> None:
        """Free an answer's place."""
        self._limits.release(permit)

    def let_go(self, permit: Permit) -> list[HoldChange]:
        """Wait no longer for a probe."""
        return self._limits.holds.let_go(permit.probes, permit.number)

    async def clear(self, key: HoldKey) -> HoldChange | None:
        """End a hold because an operator says so."""
        return self._limits.clear(key, self._clock.now())

    def forecast(self, ask: Ask, ahead: int) -> Forecast:
        """The earliest time that is possible."""
        return self._limits.forecast(ask, ahead, self._clock.now())

    def left(self, ask: Ask) -> Left:
        """What its limits leave to a request."""
        return self._limits.left(ask, self._clock.now())

    def view(self) -> tuple[Iterator[TenantView], Iterator[AppView], Iterator[HoldView]]:
        """Budgets and holds for operators."""
        now = self._clock.now()
        return (
            self._limits.accounts.views(now),
            self._limits.accounts.app_views(now),
            self._limits.holds.each(now),
        )

    def health(self) -> StoreView:
        """Memory is always there."""
        return StoreView("memory")
