"""One replica over a real server, and what it hears, logs and counts."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from random import Random
from typing import Self

from prometheus_client import CollectorRegistry

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Permit, Settlement
from proxy.core.limits.holds import HoldTimes
from proxy.core.model import HoldKey, ResponseClass, Scope
from proxy.observe.log import Log
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores.redis import RedisStore
from proxy.stores.session import Server as Address
from tests.stores.contract import ASK, Ears
from tests.strict_xero import OK

KEY = HoldKey(Scope.TENANT, app="app", tenant="tenant")
SECRET = "canary-7f3a"


class Replica:
    """A store, what it hears, logs and counts."""

    def __init__(
        self,
        url: str,
        folder: Path,
        caps: Caps | None = None,
        timeout: float = 2.0,
        times: HoldTimes | None = None,
        **options: str,
    ) -> None:
        self.ears, self.clock, self.registry = Ears(), Clock(), CollectorRegistry()
        self._path = folder / os.urandom(4).hex()
        self._file = self._path.open("wb")
        self._log = Log(self.clock.wall, descriptor=self._file.fileno())
        telemetry = StoreTelemetry(self.registry, self._log)
        names = {"prefix": "test", "app_id": "", **options}
        self.store = RedisStore(
            Address(url, timeout),
            caps or Caps(),
            times or HoldTimes(),
            self.clock,
            Random(),
            telemetry,
            **names,
        )

    async def __aenter__(self) -> Self:
        try:
            await self.store.start(self.ears)
        except OSError:
            self._file.close()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.store.close()
        self._log.close(1.0)
        self._file.close()

    async def permit(self, ask: Ask = ASK) -> Permit:
        decision = await self.store.acquire(ask)
        assert isinstance(decision, Permit), decision
        return decision

    async def denial(self, ask: Ask = ASK) -> Denial:
        decision = await self.store.acquire(ask)
        assert isinstance(decision, Denial), decision
        return decision

    async def settle(self, permit: Permit, row: ResponseClass = OK) -> None:
        await self.store.settle(permit, Settlement(row, True, self.clock.now()))

    async def taken_for_dead(self) -> None:
        """As if it had stood still for longer than its lease."""
        assert self.store._link is not None
        await self.store._link.call(partial(self.store._script.beat, 0.0))

    async def until(self, *, up: bool, within: float = 10.0) -> float:
        """Wait until it says so; the seconds that it took."""
        began = self.clock.now()
        while self.store.health().up is not up:
            assert self.clock.now() < began + within
            await self.clock.sleep_until(self.clock.now() + 0.01)
        return self.clock.now() - began

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"xero_proxy_store_{name}", labels) or 0.0

    def logged(self) -> list[dict[str, object]]:
        self._log.close(1.0)
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines()]
