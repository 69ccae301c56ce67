"""A scheduler in virtual time before a Xero that counts strictly, and callers who do what callers do."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from proxy.clock import Clock
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Permit, Settlement
from proxy.core.limits.holds import HoldChange, HoldTimes
from proxy.core.line.lines import Ticket, Waiting
from proxy.core.line.refusal import Refusal
from proxy.core.model import Execution, Remaining, ResponseClass, keys_of
from proxy.stores.memory import MemoryStore
from proxy.waiting.scheduler import Scheduler
from tests.slow_store import SlowStore
from tests.strict_xero import LOST, OK, SECONDS, TENANT, TOO_MANY, Limits, Xero
from tests.watched import DUST, WatchedLoop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt's fate: seconds out, at work and back, and what is answered."""

    row: ResponseClass = OK
    out: float = 0.05
    work: float = 0.1
    back: float = 0.05


ON_TURN = -1.0
"""Leaves in the very moment its turn comes."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One request: when it comes (seconds from the start), for whom, and how it behaves.

    `body` is how long its body takes, `leaves` after how long its caller goes; `tries` are its first
    attempts' fates, and all others succeed.
    """

    at: float = 0.0
    ask: Ask = TENANT
    urgency: int = 3
    wait: float = 120.0
    safe: bool = True
    slow: bool = False
    body: float = 0.0
    leaves: float | None = None
    tries: tuple[Try, ...] = ()
    backoff: float = 0.0


@dataclass(slots=True)
class Course:
    """What became of one caller."""

    ticket: Ticket
    granted: list[float] = field(default_factory=list)
    refusal: Refusal | None = None
    refused_at: float = 0.0
    answers: int = 0
    answered_at: float = 0.0


class World:
    """A scheduler, its store and the server, with callers to run through them."""

    def __init__(
        self,
        loop: WatchedLoop,
        limits: Limits | None = None,
        *,
        times: HoldTimes | None = None,
        waiting: Waiting | None = None,
        slow: float | None = None,
        seed: int = 0,
    ) -> None:
        self.limits = limits or Limits()
        self.clock = Clock(loop)
        self.start = self.clock.now()
        self.server = Xero(self.limits)
        caps = Caps(
            minute=self.limits.minute, app_minute=self.limits.app_minute, concurrent=self.limits.concurrent
        )
        self.memory = MemoryStore(caps, times or HoldTimes(), self.clock, Random(seed))
        self.store = SlowStore(self.memory, self.clock, Random(seed), slow) if slow else None
        self.changes: list[tuple[HoldChange, float]] = []
        self.revealed = 0
        self.scheduler = Scheduler(
            self.store or self.memory,
            self.clock,
            waiting or Waiting(),
            observe=lambda change, seconds: self.changes.append((change, seconds)),
            foreign=self._reveal,
        )
        self.order: list[Ticket] = []
        self.leave_on_turn: set[Ticket] = set()
        self.left_at: dict[Ticket, float] = {}
        self._wake, self.scheduler._turns._wake = self.scheduler._turns._wake, self._turn

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.now() - self.start

    async def until(self, seconds: float) -> None:
        """Let time pass up to `seconds` from the start."""
        await self.clock.sleep_until(self.start + seconds)

    def ticket(self, caller: Caller) -> Ticket:
        now = self.clock.now()
        return Ticket(caller.ask, now, now + caller.wait, caller.urgency, caller.safe, caller.slow)

    async def run(self, *callers: Caller) -> list[Course]:
        """All of them to their end."""
        return list(await asyncio.gather(*(self.call(caller) for caller in callers)))

    async def call(self, caller: Caller) -> Course:
        """One request as the pipeline runs it."""
        await self.until(caller.at)
        course = Course(ticket := self.ticket(caller))
        if caller.body and (refusal := self.scheduler.admit(ticket)):
            course.answers, course.refusal, course.refused_at = 1, refusal, self.now
            return course
        if caller.leaves == ON_TURN:
            self.leave_on_turn.add(ticket)
        elif caller.leaves is not None:
            self.clock.call_at(ticket.arrived + caller.leaves, lambda: self._leave(ticket))
        try:
            await self.until(caller.at + caller.body)
            await self._attempts(caller, ticket, course)
        finally:
            self.scheduler.leave(ticket)
            self.scheduler.leave(ticket)  # the pipeline may: it does nothing
        return course

    async def _attempts(self, caller: Caller, ticket: Ticket, course: Course) -> None:
        fates = iter(caller.tries)
        while True:
            asked = self.clock.now()
            granted = self.scheduler.take(ticket) or await self.scheduler.acquire(ticket)
            course.answered_at = self.now
            ends = self.left_at[ticket] if granted is None else ticket.deadline
            late = self.clock.now() - max(asked, ends)
            # Whoever is asking over a network waits for the answer, and gives back what it need not have.
            slack = (4 if granted is None else 2) * self.store.longest if self.store else 0.0
            assert late <= DUST + slack, f"answered {late} s late"
            if isinstance(granted, Permit):
                assert not granted.settled
                self.order.append(ticket)
                course.granted.append(self.now)
                if await self.attempt(granted, next(fates, Try())) is not None:
                    course.answers += 1
                    return
                await self.until(self.now + caller.backoff)
                continue
            course.answers += 1
            if granted is None:
                assert ticket.left
            else:
                course.refusal, course.refused_at = granted, self.now
            return

    async def attempt(self, permit: Permit, fate: Try) -> ResponseClass | None:
        """Send, be answered, settle; None where it may be tried again."""
        ask, row = permit.ask, fate.row
        if row.execution is Execution.NEVER_SENT:
            await self.until(self.now + fate.out)
            await self.scheduler.settle(permit, Settlement(row, sent=False, head_at=self.clock.now()))
            return None
        await self.until(self.now + fate.out)
        limit, remaining, retry_after = self.server.arrive(ask, self.clock.now())
        await self.until(self.now + fate.work)
        self.server.depart(ask)
        await self.until(self.now + fate.back)
        row = TOO_MANY[limit] if limit else row
        if row is LOST:
            remaining = Remaining()
        settlement = Settlement(row, True, self.clock.now(), remaining, retry_after)
        await self.scheduler.settle(permit, settlement)
        return row if row.execution is Execution.DONE else None

    def waiting(self) -> Iterator[Ticket]:
        """Everybody who stands in line and has not been told that it may ask or go."""
        for place in self.scheduler._turns:
            if place.asking is None:
                yield from place.line

    def nobody_waits_in_vain(self) -> None:
        """Nothing moves: then nobody waits who could go now."""
        if self.store is not None and self.store.busy:
            return
        now, core = self.clock.now(), self.memory._limits
        for ticket in self.waiting():
            ask = ticket.ask
            app = core.accounts.app(ask.app, now)
            tenant = core.accounts.tenant(ask.app, ask.tenant, now) if ask.tenant is not None else None
            keys = keys_of(ask.app, ask.tenant, ask.api)
            # One after the other goes past a probe that is silent.
            held = core.holds.blocking(keys, now) or any(
                hold.probing is not None for key in keys if (hold := core.holds.active.get(key))
            )
            full = tenant is not None and (
                tenant.in_flight >= core._caps.concurrent
                or tenant.minute.free(now) <= 0
                or tenant.day.earliest(now) > now
            )
            assert held or full or app.free(now) <= 0, f"{ticket} could go at {self.now}"

    def kept_to_the_limits(self) -> None:
        """The ledger: nothing over a limit in any window, and not one 429."""
        assert not self.server.too_many
        apps: dict[str, list[float]] = defaultdict(list)
        for (app, tenant), times in self.server.arrivals.items():
            apps[app] += times
            if tenant is not None:
                self._never_over(self.limits.minute, times)
        for times in apps.values():
            self._never_over(self.limits.app_minute, times)

    def is_idle(self) -> None:
        """Nothing is left of anybody."""
        turns = self.scheduler._turns
        assert not self.scheduler._futures
        assert self.scheduler._admitted == 0
        assert not turns._places
        assert not turns._rings
        assert not turns._parked
        assert all(not tenant.in_flight for tenant in self.memory._limits.accounts.tenants.values())
        assert not any(self.server.in_progress.values())
        assert self.scheduler.snapshot().waiting == 0

    @staticmethod
    def _never_over(limit: int, times: list[float]) -> None:
        times = sorted(times)
        for earlier, later in zip(times, times[limit:], strict=False):
            assert later - earlier >= SECONDS, f"{limit + 1} calls in {later - earlier} s"

    def _reveal(self, _ask: Ask, count: int) -> None:
        self.revealed += count

    def _turn(self, ticket: Ticket) -> None:
        self._wake(ticket)
        if ticket in self.leave_on_turn:
            self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        self.left_at[ticket] = min(self.clock.now(), self.left_at.get(ticket, float("inf")))
        self.scheduler.caller_left(ticket)
