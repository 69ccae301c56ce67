"""The same history told to the core and to the script on a real server, and what both make of it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import redis

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Permit, Settlement
from proxy.core.limits.holds import HoldChange, HoldTimes
from proxy.core.limits.sharing import SharedLimits
from proxy.core.model import Execution, HoldKey, HoldRule, HoldView, Remaining, ResponseClass, Scope, keys_of
from proxy.stores.script import Arguments, Reply, Script
from tests.stores import kept

BEGAN = 1_790_000_000.0
"""As large as the server's clock: differences of such times are exact."""
REPLICAS = ("r1", "r2", "r3", "r4")
TIMES = HoldTimes(offline=30.0, backoff=0.5, backoff_max=30.0)

ASKS = [
    Ask(app, tenant, api)
    for app in ("a", "b")
    for tenant in ("t1", "t1", "t2", None)
    for api in ("accounting", "files")
]
HEALTHY = ResponseClass("success", Execution.DONE, healthy=True)
GATEWAY = ResponseClass("gateway", Execution.UNKNOWN, breaks=True)
ROWS = (
    HEALTHY,
    HEALTHY,
    HEALTHY,
    HEALTHY,
    ResponseClass("validation", Execution.DONE),
    ResponseClass("connect_failed", Execution.NEVER_SENT, HoldRule(Scope.HOST, "failing", "backoff")),
    GATEWAY,
    GATEWAY,
    ResponseClass("offline", Execution.REJECTED, HoldRule(Scope.TENANT, "offline", "offline")),
    ResponseClass("maintenance", Execution.REJECTED, HoldRule(Scope.API, "maintenance", "backoff")),
    ResponseClass("minute", Execution.REJECTED, HoldRule(Scope.TENANT, "minute", "retry_after")),
    ResponseClass("day", Execution.REJECTED, HoldRule(Scope.TENANT, "day", "retry_after")),
    ResponseClass("appminute", Execution.REJECTED, HoldRule(Scope.APP, "appminute", "retry_after")),
    ResponseClass("concurrent", Execution.REJECTED, HoldRule(Scope.TENANT, "concurrent", 0.25, probe=False)),
)
PAUSES = (0.0, 0.0, 0.01, 0.01, 0.05, 0.3, 1.0, 1.0, 5.0, 20.0, 61.0)
LONG_PAUSES = (0.4, 130.0, 301.0, 901.0, 40_000.0, 87_000.0)


def told_time(text: bytes) -> bytes:
    """A script with a clock that is told the time, in the last argument."""
    return text.replace(b"redis.call('TIME')", b"{ARGV[#ARGV], '0'}")


@dataclass(slots=True)
class Story:
    """A history as it unfolds. `client` is connected to an empty server."""

    client: redis.Redis
    caps: Caps
    random: Random
    busy: bool
    """Where set, time goes by in small steps, nobody dies and few things go wrong."""
    now: float = BEGAN
    core: SharedLimits = field(init=False)
    open: dict[tuple[str, int], Permit] = field(default_factory=dict)
    ending: dict[tuple[str, int], Permit] = field(default_factory=dict)
    """Settled, and to be released."""
    failing: bool = False
    """For a while hardly anything works."""
    steps: int = 0
    seen: set[str] = field(default_factory=set)
    """What happened, so that a test can say that its histories hold everything."""

    def __post_init__(self) -> None:
        self.core = SharedLimits(self.caps, TIMES)
        self.client.flushall()

    def script(self, replica: str) -> Script:
        return Script("xero-proxy", "", replica, self.caps, TIMES)

    def run(self, script: Script, arguments: Arguments) -> Reply:
        operation, *rest = arguments
        text = told_time(script.sources[operation].text)
        reply: Reply = self.do("EVAL", text, 1, script.namespace, *rest, repr(self.now))
        return reply

    def do(self, *command: Any) -> Any:
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]  # the library left it so

    def step(self) -> None:
        self._pause()
        self.failing ^= not self.busy and self.random.random() < 0.02
        chance = self.random.random()
        if self.open and chance < (0.45 if len(self.open) > 2 else 0.2):
            replica, number = self.random.choice(sorted(self.open))
            ended = self.random.random() < 0.8
            self.settle(replica, number, self._settlement(self.open[replica, number]), ended=ended)
        elif self.ending and chance < 0.5:
            self._release()
        elif self.open and chance < 0.52:
            self._let_go()
        elif chance < 0.9 or self.busy:
            ask = self.random.choice(ASKS[:2] if self.busy and self.random.random() < 0.9 else ASKS)
            self.acquire(self.random.choice(REPLICAS), ask, more=self.random.random() < 0.5)
        elif chance < 0.94:
            self._beat()
        elif chance < 0.97:
            self._claim()
        else:
            self._clear()

    def same_accounts(self) -> None:
        """Everything that is kept of every account is the same here and there."""
        for ask in ASKS:
            self.same_account(ask)

    def same_account(self, ask: Ask) -> None:
        """The same of those that this request is charged to."""
        accounts = self.core.limits.accounts
        if window := accounts.apps.get(ask.app):
            kept.same_window(self.do, f"{{xero-proxy:}}:a:{ask.app}", window)
        if ask.tenant is not None and (account := accounts.tenants.get((ask.app, ask.tenant))):
            kept.same_account(self.do, f"{{xero-proxy:}}:t:{len(ask.app)}:{ask.app}:{ask.tenant}", account)

    def _pause(self) -> None:
        if self.busy:
            self.now += self.random.choice((0.0, 0.005, 0.02, 0.05, 0.1))
        elif self.random.random() < 0.97:
            self.now += self.random.choice(PAUSES)
        else:
            self.now += self.random.choice(LONG_PAUSES)

    def acquire(self, replica: str, ask: Ask, *, more: bool = False) -> None:
        self.steps += 1
        script = self.script(replica)
        expected = self.core.acquire(replica, self.steps, ask, self.now, more=more)
        reply = self.run(script, script.acquire(ask, self.steps, more=more))
        decision = script.decision(reply, ask, self.steps, self.now)
        match decision.outcome, expected:
            case Permit() as permit, Permit():
                assert permit.probes == expected.probes
                self._same(permit.following, expected.following)
                self.open[replica, self.steps] = permit
                self.seen.add("probe" if permit.probes else "permit")
            case Denial() as denial, Denial():
                self._same(denial, expected)
                self.seen.add("hold" if denial.hold else denial.limit)
                if denial.until is not None and abs(denial.until - self.now - 0.05) < 1e-6:
                    self.seen.add("turn")
            case other, _:
                raise AssertionError(f"{self.steps}: {other}, not {expected}")
        self.same_account(ask)

    def _same(self, denial: Denial | None, expected: Denial | None) -> None:
        if denial is None or expected is None:
            assert denial is expected
            return
        assert (denial.limit, denial.hold) == (expected.limit, expected.hold)
        if denial.until is None or expected.until is None:
            assert denial.until is expected.until
        else:
            assert abs(denial.until - expected.until) < 1e-6

    def settle(self, replica: str, number: int, settlement: Settlement, *, ended: bool = True) -> None:
        permit = self.open.pop((replica, number))
        ended = ended or not settlement.sent
        if not ended:
            self.ending[replica, number] = permit
        self._answered(replica, permit, settlement, ended=ended)

    def _release(self) -> None:
        replica, number = self.random.choice(sorted(self.ending))
        permit, script = self.ending.pop((replica, number)), self.script(replica)
        lost = self.core.release(replica, number, self.now)
        assert self.run(script, script.release(permit)) == (b"lost" if lost else b"released")
        self.seen.add("released")
        self.same_account(permit.ask)

    def _let_go(self) -> None:
        replica, number = self.random.choice(sorted(self.open))
        script = self.script(replica)
        changes = self.core.let_go(replica, number)
        self.run(script, script.let_go(self.open[replica, number]))
        self.seen |= {"let go"} if changes else set()

    def _claim(self) -> None:
        """A replica says what became of a permit that the others know nothing of."""
        ask = self.random.choice(ASKS)
        at = self.now - self.random.choice((0.0, 0.5, 30.0, 100.0))
        permit = Permit(10**6 + self.steps, ask, keys_of(ask.app, ask.tenant, ask.api), at)
        self._answered(self.random.choice(REPLICAS), permit, self._settlement(permit))

    def _answered(self, replica: str, permit: Permit, settlement: Settlement, *, ended: bool = True) -> None:
        random, script = self.random.random(), self.script(replica)
        claim = Permit(-1, permit.ask, permit.keys, permit.granted_at)
        effects, lost = self.core.settle(
            replica, permit.number, claim, settlement, self.now, random, ended=ended
        )
        reply = self.run(script, script.settle(permit, settlement, self.now, random, ended=ended))
        settled = script.settled(reply, permit, self.now)
        assert settled.lost == lost
        assert settled.effects.foreign == effects.foreign
        self._same_changes(settled.effects.holds, effects.holds)
        self.seen |= {"lost"} if lost else set()
        self.seen |= {"foreign"} if effects.foreign else set()
        self.seen |= {str(change.action) for change in effects.holds}
        self.seen |= {change.key.scope for change in effects.holds if change.reason == "failing"}
        self.same_account(permit.ask)

    def _same_changes(self, changes: tuple[HoldChange, ...], expected: tuple[HoldChange, ...]) -> None:
        assert len(changes) == len(expected)
        for change, other in zip(changes, expected, strict=True):
            assert abs(change.until - other.until) < 1e-6
            assert (change.action, change.key, change.reason, change.probe) == (
                other.action,
                other.key,
                other.reason,
                other.probe,
            )

    def _settlement(self, permit: Permit) -> Settlement:
        row = self.random.choice(ROWS)
        if self.failing and self.random.random() < 0.95:
            row = GATEWAY
        elif self.busy and self.random.random() < 0.8:
            row = HEALTHY
        head_at = permit.granted_at + self.random.choice((0.5, 1.0)) * (self.now - permit.granted_at)
        head_at = self.now - (self.now - head_at)
        retry_after = self.random.choice((None, 0.0, 3.0, 30.0)) if row.hold else None
        sent = row.execution is not Execution.NEVER_SENT
        again = row.breaks and self.random.random() < 0.2
        return Settlement(row, sent, head_at, self._remaining(permit.ask), retry_after, again)

    def _remaining(self, ask: Ask) -> Remaining:
        """Mostly what is likely, at times anything, at times nothing."""
        if self.random.random() < 0.2:
            return Remaining()
        accounts, caps, noise = self.core.limits.accounts, self.caps, self.random.choice((0, 0, 0, 1, 3, -2))
        app = max(0, accounts.app(ask.app, self.now).free(self.now) - noise)
        if ask.tenant is None:
            return Remaining(app_minute=app)
        account = accounts.tenant(ask.app, ask.tenant, self.now)
        minute = min(max(0, account.minute.free(self.now) - noise), caps.minute)
        if self.random.random() < 0.05:
            minute = self.random.randint(0, caps.minute)
        day = max(0, deepcopy(account.day).left(self.now) - self.random.choice((0, 0, 0, 2, -30, caps.day)))
        return Remaining(minute, day, app)

    def _beat(self) -> None:
        replica = self.random.choice(REPLICAS)
        script, lease = self.script(replica), self.random.choice((6.0, 6.0, 6.0, 0.0))
        own = {number for name, number in (*self.open, *self.ending) if name == replica}
        kept = (
            {number for number in own if self.random.random() < 0.5} if self.random.random() < 0.5 else None
        )
        pulse = self.core.beat(replica, self.now, lease, kept)
        beat = script.beaten(self.run(script, script.beat(lease, kept)))
        assert (beat.replicas, beat.lapsed, beat.reaped, beat.more) == (
            pulse.replicas,
            pulse.lapsed,
            pulse.reaped,
            pulse.more,
        )
        self.seen |= {"reaped"} if beat.reaped else set()
        self.seen |= {"disowned"} if kept is not None and kept < own else set()
        assert beat.holds is not None
        assert held(beat.holds) == held(tuple(self.core.limits.holds.each(self.now)))

    def _clear(self) -> None:
        ask = self.random.choice(ASKS)
        key = self.random.choice(keys_of(ask.app, ask.tenant, ask.api))
        script = self.script("r1")
        expected = self.core.limits.clear(key, self.now)
        change = script.cleared(self.run(script, script.clear(key)), key, self.now)
        self._same_changes((change,) if change else (), (expected,) if expected else ())
        self.seen |= {"cleared"} if change else set()


def held(views: tuple[HoldView, ...]) -> set[tuple[HoldKey, str, float, bool, bool]]:
    return {(view.key, view.reason, round(view.seconds, 5), view.probing, view.probe) for view in views}
