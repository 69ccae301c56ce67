"""Stores in this process, in time that passes by hand."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from tempfile import TemporaryFile
from typing import Any

from prometheus_client import CollectorRegistry

from proxy.core.answers.idempotency import Keys
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Permit, Settlement
from proxy.core.limits.holds import HoldChange, HoldTimes
from proxy.core.model import Remaining, ResponseClass
from proxy.observe.log import Log
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore
from tests.stores.contract import ASK, Ears
from tests.stores.hand_clock import HandClock
from tests.strict_xero import OK


class MemoryStand:
    """The memory store, in time that passes by hand."""

    def __init__(self, caps: Caps, path: Path, seed: int = 0) -> None:  # noqa: ARG002 - as the other
        self.clock = HandClock()
        self.store = MemoryStore(caps, HoldTimes(), self.clock, Random(seed))

    @property
    def now(self) -> float:
        return self.clock.now()

    async def pass_seconds(self, seconds: float) -> None:
        self.clock.pass_seconds(seconds)

    async def start(self) -> None:
        await self.store.start(Ears())

    async def close(self) -> None:
        await self.store.close()

    async def permit(self, ask: Ask = ASK) -> Permit:
        permit = await self.store.acquire(ask)
        assert isinstance(permit, Permit)
        return permit

    async def denial(self, ask: Ask = ASK) -> Denial:
        denial = await self.store.acquire(ask)
        assert isinstance(denial, Denial)
        return denial

    async def answered(
        self, permit: Permit, row: ResponseClass = OK, remaining: Remaining | None = None
    ) -> tuple[HoldChange, ...]:
        settlement = Settlement(row, sent=True, head_at=self.now, remaining=remaining or Remaining())
        return (await self.store.settle(permit, settlement)).holds


class SqliteStand(MemoryStand):
    """The SQLite store over a file in `path`; another one over the same file is its successor."""

    def __init__(self, caps: Caps, path: Path, seed: int = 0, clock: HandClock | None = None) -> None:
        self.clock = clock or HandClock()
        self.path = path / "state.db"
        self.keys = Keys()
        self.registry = CollectorRegistry()
        self._output = TemporaryFile()  # noqa: SIM115 - `close` closes it
        self.log = Log(self.clock.wall, descriptor=self._output.fileno())
        self.store = self.sqlite = SqliteStore(
            caps,
            HoldTimes(),
            self.clock,
            Random(seed),
            path=self.path,
            keys=self.keys,
            telemetry=StoreTelemetry(self.registry, self.log),
        )

    async def pass_seconds(self, seconds: float) -> None:
        """Until then, what is to be written has been."""
        self.clock.pass_seconds(seconds)
        await self.written()

    async def written(self) -> None:
        if self.sqlite._writing is not None:
            await self.sqlite._writing

    async def close(self) -> None:
        await super().close()
        self.log.close(10)
        self._output.close()

    async def killed(self) -> None:
        """What was not written is lost; the lock ends with the process."""
        assert self.sqlite._worker is not None
        await self.written()
        await self.sqlite._worker.run(self.sqlite._file.close)
        self.sqlite._worker.stop()
        self.sqlite._worker = None

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event; nothing is logged after that."""
        assert self.log.close(10)
        self._output.seek(0)
        return [line for line in map(json.loads, self._output) if line["event"] == event]

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"xero_proxy_{name}", labels) or 0.0
