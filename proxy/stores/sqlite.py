"""Limits and holds in this process's memory, remembered in a file so that a restart does not forget them.

All decisions are the memory store's. What they changed is noted, and written behind by a thread of its own:
at once where it is the first change for a while, then ten times a second, so that the file is far less than
`BEHIND_SECONDS` behind and an idle proxy writes nothing. A process that is killed forgets as much; the next
answer's headers say what was missed. Where the disk fails everything goes on from memory, and is written when
the disk is back.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from itertools import islice
from math import inf
from pathlib import Path
from random import Random

from proxy.clock import Clock, Timer
from proxy.core.answers.idempotency import KEY_LIFE_SECONDS, Keys
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Effects, Permit, Settlement
from proxy.core.limits.holds import Hold, HoldChange, HoldTimes
from proxy.core.model import HoldKey, Scope, StoreView
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores import Heard
from proxy.stores.memory import MemoryStore
from proxy.stores.state_file import Lost, StateFile, reason_of
from proxy.stores.state_rows import Rows
from proxy.worker import Worker

GATHER_SECONDS = 0.1
AGAIN_SECONDS = 1.0
"""Between attempts while the disk does not work."""
MOST = 500
"""Organisations in one write, so that the loop is not kept for long when a disk comes back."""
BEHIND_SECONDS = 1.0
"""The most that the file is behind while the disk works."""
SLOW_SECONDS = 5.0
"""A write that takes longer is a disk that does not work."""
PRUNE_SECONDS = 60.0
CLOSE_SECONDS = 2.0


class SqliteStore(MemoryStore):
    """The memory store, and a file that follows it."""

    def __init__(
        self,
        caps: Caps,
        times: HoldTimes,
        clock: Clock,
        random: Random,
        *,
        path: Path,
        keys: Keys,
        telemetry: StoreTelemetry,
    ) -> None:
        super().__init__(caps, times, clock, random)
        self._file = StateFile(path)
        self._keys = keys
        self._telemetry = telemetry
        self._worker: Worker | None = None
        self._ahead = 0.0
        """Of the file's clock, over this process's."""
        self._charged: set[Ask] = set()
        self._held: set[HoldKey] = set()
        self._keys_written = self._written_at = self._pruned = -inf
        self._timer: Timer | None = None
        self._writing: asyncio.Task[None] | None = None
        self._trouble = ""
        self._away_since = 0.0

    async def start(self, heard: Heard) -> None:
        """Read the file. Raises BadSettings where it must not be used, OSError where it cannot be now."""
        await super().start(heard)
        worker, began, wall = Worker("state"), self._clock.now(), self._clock.wall()
        try:
            found = await worker.run(lambda: self._file.open(wall))
        except BaseException:
            worker.stop()
            raise
        self._worker = worker
        now, wall = self._clock.now(), self._clock.wall()
        self._telemetry.operation("open", "ok", now - began)
        self._ahead = wall - now
        if isinstance(found, Lost):
            age = max(0.0, wall - found.wall)
            self._limits.accounts.spent_at = now - max(0.0, age - BEHIND_SECONDS)
            self._telemetry.moved_aside(str(found.moved_to), age)
        elif found is not None:
            self._restore(found, now, wall - found.wall)
        await self._write_and_go_on()

    async def close(self) -> None:
        """Write the rest; a disk that hangs is not waited for."""
        if self._worker is None:
            return
        worker, self._worker = self._worker, None
        if self._timer is not None:
            self._timer.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._writing is not None:
                    await self._writing
                while await self._write(worker) and (self._charged or self._held):
                    pass
                await worker.run(self._file.close)
        worker.stop(self._file.close)

    async def acquire(self, ask: Ask) -> Permit | Denial:
        """Charge all limits or none."""
        return self.acquire_now(ask)

    def acquire_now(self, ask: Ask) -> Permit | Denial:
        """The same, which never waits for the disk."""
        decision = super().acquire_now(ask)
        if isinstance(decision, Permit):
            self._charged.add(ask)
            self._write_soon()
        return decision

    async def settle(self, permit: Permit, settlement: Settlement, *, ended: bool = True) -> Effects:
        """Account for what an attempt's answer means."""
        effects = await super().settle(permit, settlement, ended=ended)
        self._charged.add(permit.ask)
        for change in effects.holds:
            self._held.add(change.key)
        self._write_soon()
        return effects

    async def clear(self, key: HoldKey) -> HoldChange | None:
        """End a hold because an operator says so."""
        change = await super().clear(key)
        if change is not None:
            self._held.add(key)
            if key.scope is Scope.TENANT:
                self._charged.add(Ask(key.app, key.tenant, ""))
            self._write_soon()
        return change

    def health(self) -> StoreView:
        """Whether the file can be written."""
        return StoreView("sqlite", not self._trouble, self._trouble)

    def _restore(self, found: Rows, now: float, away: float) -> None:
        """Take over what the file has, written `away` seconds ago by the wall clock; where that was set back
        nobody knows how long ago, and no key is trusted.
        """
        self._ahead = ahead = found.at + max(0.0, away) - now
        latest = inf if away >= 0 else self._clock.elapsed() - KEY_LIFE_SECONDS
        for app, tenant, at, record in found.spent:
            self._limits.accounts.restore(app, tenant or None, record, at - ahead, now)
            if record[0].flying:  # they are answered now, and not again at each restart
                self._charged.add(Ask(app, tenant or None, ""))
        for key, hold in found.holds:
            hold.until -= ahead
            self._limits.holds.restore(key, hold, now)
            self._held.add(key)
        elapsed = self._clock.elapsed()
        older = elapsed - now - ahead  # from the file's clock to that of the keys
        for digest, first, last in found.keys:
            self._keys.restore(digest, min(first + older, latest), min(elapsed, last + older))
        self._keys.restored(min(found.at + older, latest))
        self._keys_written = elapsed
        self._telemetry.restored(len(found.spent), len(found.holds), len(found.keys), away)

    def _write_soon(self) -> None:
        if self._timer is None and self._worker is not None:
            pause = AGAIN_SECONDS if self._trouble else GATHER_SECONDS
            due = max(self._clock.now(), self._written_at + pause)
            self._timer = self._clock.call_at(due, self._due)

    def _due(self) -> None:
        self._writing = asyncio.ensure_future(self._write_and_go_on())

    async def _write_and_go_on(self) -> None:
        if self._worker is not None:
            self._written_at = self._clock.now()
            await self._write(self._worker)
        self._timer = self._writing = None
        if self._charged or self._held:
            self._write_soon()

    async def _write(self, worker: Worker) -> bool:
        """What has changed, or some of it; where the disk fails (False) it counts as changed again."""
        now = self._clock.now()
        charged, held = set(islice(self._charged, MOST)), self._held
        self._charged -= charged
        self._held = set()
        elapsed = self._clock.elapsed()
        rows = self._rows(charged, held, now, elapsed)
        pruning = now - self._pruned >= PRUNE_SECONDS
        late = self._clock.call_at(now + SLOW_SECONDS, lambda: self._away("slow"))
        error = ""
        try:
            await worker.run(lambda: self._file.write(rows, pruning=pruning))
        except Exception as failure:  # noqa: BLE001 - whatever it is, nothing may be forgotten for it
            error = reason_of(failure) if isinstance(failure, sqlite3.Error) else "other"
        finally:
            late.cancel()
        if error:
            self._telemetry.failed("write")
            self._telemetry.error(error)
            self._charged |= charged
            self._held |= held
            self._away(error)
            return False
        self._telemetry.operation("write", "ok", self._clock.now() - now)
        self._keys_written = elapsed
        if pruning:
            self._pruned = now
        self._back()
        return True

    def _rows(self, charged: set[Ask], held: set[HoldKey], now: float, elapsed: float) -> Rows:
        ahead = self._ahead
        rows = Rows(now + ahead, self._clock.wall())
        for app, tenant in {(ask.app, tenant) for ask in charged for tenant in (ask.tenant, None)}:
            if record := self._limits.accounts.record(app, tenant, now):
                rows.spent.append((app, tenant or "", rows.at, record))
        for key in held:
            hold = self._limits.holds.active.get(key)
            if hold is None:
                rows.ended.append(key)
            else:
                rows.holds.append(
                    (key, Hold(hold.reason, 0.0, hold.until + ahead, hold.probe, hold.failures))
                )
        for digest, first, last in self._keys.used_since(self._keys_written):
            rows.keys.append((digest, rows.at + first - elapsed, rows.at + last - elapsed))
        return rows

    def _away(self, reason: str) -> None:
        if not self._trouble:
            self._away_since = self._clock.now()
        if reason != self._trouble:
            self._trouble = reason
            self._telemetry.away(reason)

    def _back(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._telemetry.back(self._clock.now() - self._away_since)
