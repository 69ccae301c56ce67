"""What very many replicas ask of one server: `python -m tests.capacity` writes deploy/capacity.md anew.

How often they ask is simulated with the core, in virtual time; what that costs is measured with the script on
a real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Permit, Settlement
from proxy.core.limits.holds import HoldTimes
from proxy.core.model import Execution, HoldRule, Remaining, ResponseClass, Scope, keys_of
from proxy.stores.lua import HOLDS_TOLD
from proxy.stores.script import Arguments, Script
from tests import servers
from tests.core.replicas import Cluster, Replica
from tests.servers import Server
from tests.stores.histories import told_time

FILE = Path(__file__).parents[1] / "deploy/capacity.md"
REPLICAS, TENANTS, APPS, TENANTS_SIMULATED = 1_000, 10_000, 100, 500
BEATS_A_SECOND = REPLICAS / 2
DAY_BUCKETS = 289
OK = ResponseClass("success", Execution.DONE, healthy=True)
OFFLINE = ResponseClass("offline", Execution.REJECTED, HoldRule(Scope.TENANT, "offline", "offline"))
WIDE = Caps(minute=10**6, day=10**8, concurrent=10**4, app_minute=10**8)


TEXT = """\
# How much one server carries

{replicas:,} replicas before {tenants:,} organisations of {apps} apps, with Xero's limits. Written by
`python -m tests.capacity`.

| load | calls/s | operations a call | operations/s | of one core |
|---|--:|--:|--:|--:|
{loads}

How often the replicas ask is simulated in virtual time with `proxy/core/limits/sharing.py`, whose rules
the script repeats: ways to the server of up to 2 ms, calls of 50 to 300 ms. The first load is all {tenants:,}
organisations for a minute; of the others {simulated} were simulated in their second minute and counted
{scale} times, because organisations do not wait for one another. Operations are decisions, one settlement
for each call, and a beat of each replica every two seconds; the share of a core is their number times what
each takes.

| operation | µs of the server's processor ({server}) |
|---|--:|
{costs}

Measured as the main thread's own time (`INFO cpu`) over thousands of pipelined calls of the script, on a
machine with two cores. A server decides on one core, so where the sum comes near 100 %, give
groups of apps a server of their own.

| kept | bytes |
|---|--:|
{kept}

Measured with `MEMORY USAGE` after the script had put it there. So all organisations, called all day and
using up every minute, with {apps} apps at 6,000 calls a minute each and one call in flight at each replica,
take {total:,.0f} MB; a hold of each organisation would add {held:.1f} MB. A minute's calls expire four
minutes after the last at the latest, everything else of an organisation a day after it.
`maxmemory-policy` must be `noeviction`, its default: a limit that was evicted is a limit forgotten.
"""


@dataclass(frozen=True, slots=True)
class Load:
    """A minute of all replicas: what is sent, and what is asked of the server, each a second."""

    name: str
    calls: float
    asked: float


def ask_of(tenant: int) -> Ask:
    return Ask(f"app-{tenant % APPS:032}", f"{tenant:036}", "accounting")


def steady() -> Load:
    """Every organisation is called six times a minute, each time from any replica."""
    random = Random(1)
    cluster = Cluster(Caps(), [], random)
    for tenant in range(TENANTS):
        for _ in range(6):
            line = Replica(f"r{random.randrange(REPLICAS)}", 1, ask_of(tenant))
            cluster.expect(line, random.uniform(0, 60))
    cluster.run(60.0)
    return Load("6 calls a minute to each, from any replica", len(cluster.arrivals) / 60, cluster.asked / 60)


def backlog(replicas: int) -> Load:
    """Every organisation's limit is used up by so many replicas with more to send; the second minute."""
    tenants = range(TENANTS_SIMULATED)
    lines = [Replica(f"r{n}", 1000, ask_of(tenant)) for tenant in tenants for n in range(replicas)]
    cluster = Cluster(Caps(), lines, Random(1))
    cluster.run(60.0)
    calls, asked = len(cluster.arrivals), cluster.asked
    cluster.run(120.0)
    scale = TENANTS / TENANTS_SIMULATED / 60
    name = f"a backlog for each, at {replicas} replica{'s' * (replicas > 1)}"
    return Load(name, (len(cluster.arrivals) - calls) * scale, (cluster.asked - asked) * scale)


class Measured:
    """The script on a server, and what it costs there."""

    def __init__(self, server: Server) -> None:
        self.client = server.client
        self.script = Script("xero-proxy", "", "0123456789abcdef", WIDE, HoldTimes())

    def cpu(self, calls: list[Arguments], script: Script | None = None) -> float:
        """Microseconds of the server's main thread for each."""
        sources = (script or self.script).sources
        for source in sources.values():
            self.client.script_load(source.text)
        before = self._used()
        pipeline = self.client.pipeline(transaction=False)
        for operation, *arguments in calls:
            pipeline.evalsha(sources[operation].sha.decode(), 1, self.script.namespace, *arguments)
        pipeline.execute()
        return (self._used() - before) / len(calls) * 1e6

    def at(self, now: float, arguments: Arguments) -> None:
        operation, *rest = arguments
        text = told_time(self.script.sources[operation].text)
        self._do("EVAL", text, 1, self.script.namespace, *rest, repr(now))

    def bytes(self, pattern: str) -> int:
        """Memory of the keys whose names match."""
        keys = self._do("KEYS", pattern)
        return sum(int(self._do("MEMORY", "USAGE", key, "SAMPLES", 0)) for key in keys)

    def empty(self) -> None:
        self._do("FLUSHALL")

    def _used(self) -> float:
        used = self.client.info("cpu")
        return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])

    def _do(self, *command: Any) -> Any:
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]  # the library left it so


def settlement(script: Script, number: int, ask: Ask, now: float, row: ResponseClass = OK) -> Arguments:
    permit = Permit(number, ask, keys_of(ask.app, ask.tenant, ask.api), now)
    return script.settle(
        permit, Settlement(row, True, now, Remaining(60, max(1000, 5000 - number), 10_000)), now, 0.5
    )


def times(on: Measured) -> Iterator[tuple[str, float]]:
    """Operations and the microseconds that each takes."""
    script, numbers = on.script, range(5_000)
    on.empty()
    on.cpu([script.acquire(ask_of(n % 500), n, more=False) for n in numbers])  # warm
    on.cpu([settlement(script, n, ask_of(n % 500), 0.0) for n in numbers])
    granted = on.cpu([script.acquire(ask_of(n % 500), n, more=False) for n in numbers])
    yield "a decision: granted", granted
    yield "a settlement", on.cpu([settlement(script, n, ask_of(n % 500), 0.0) for n in numbers])
    for contender in range(4):
        full = Script("xero-proxy", "", f"{contender}", Caps(concurrent=0), HoldTimes())
        on.cpu([full.acquire(ask_of(n % 500), n, more=True) for n in numbers], full)
    full = Script("xero-proxy", "", "0123456789abcdef", Caps(concurrent=0), HoldTimes())
    yield "a decision: denied", on.cpu([full.acquire(ask_of(n % 500), n, more=True) for n in numbers], full)
    for replica in range(REPLICAS):
        on.cpu([Script("xero-proxy", "", f"{replica}", WIDE, HoldTimes()).beat()])
    yield f"a beat of one of {REPLICAS:,} replicas", on.cpu([script.beat()] * 2_000)
    for number in range(HOLDS_TOLD):
        on.cpu([script.acquire(ask_of(number), number, more=False)])
        on.cpu([settlement(script, number, ask_of(number), 0.0, OFFLINE)])
    yield f"the same with {HOLDS_TOLD} holds to tell", on.cpu([script.beat()] * 2_000)


def sizes(on: Measured) -> Iterator[tuple[str, int]]:
    """What is kept, and its bytes."""
    script, began, ask = on.script, 1_790_000_000.0, ask_of(1)
    on.empty()
    for bucket in range(DAY_BUCKETS):
        on.at(began + 300.0 * bucket, script.acquire(ask, bucket, more=False))
        on.at(began + 300.0 * bucket, settlement(script, bucket, ask, 0.0))
    yield "an organisation that was called all day", on.bytes("*:t:*") - on.bytes("*:t:*:[sr]")
    on.empty()
    for number in range(120):
        on.at(began + number, script.acquire(ask, number, more=False))
        on.at(began + number, settlement(script, number, ask, 0.0))
    yield "two full minutes of its calls, which is how far the rules look back", on.bytes("*:t:*:[sr]")
    on.empty()
    for number in range(20_000):
        on.at(began + number / 167, script.acquire(ask, number, more=False))
        on.at(began + number / 167, settlement(script, number, ask, 0.0))
    yield "an app with two full minutes of calls", on.bytes("*:a:*")
    on.empty()
    for number in range(1000):
        on.at(began, script.acquire(ask_of(number), number, more=False))
    yield "1,000 calls in flight", on.bytes("*:permits:*")
    for number in range(1000):
        on.at(began, settlement(script, number, ask_of(number), 0.0, OFFLINE))
    yield "1,000 holds", on.bytes("*:holds")
    for replica in range(1000):
        on.at(began, Script("xero-proxy", "", f"{replica:016}", WIDE, HoldTimes()).beat())
    yield "1,000 replicas", on.bytes("*:replicas")


def text(loads: list[Load], costs: dict[str, float], kept: dict[str, int], server: str) -> str:
    granted, settled, denied, beat, _ = costs.values()
    day, minute, app, flight, held, leases = kept.values()
    rows = []
    for load in loads:
        operations = load.asked + load.calls + BEATS_A_SECOND
        busy = load.calls * (granted + settled) + (load.asked - load.calls) * denied + BEATS_A_SECOND * beat
        figures = (
            f"{load.calls:,.0f} | {load.asked / load.calls + 1:.1f} | {operations:,.0f} | {busy / 1e4:.0f} %"
        )
        rows.append(f"| {load.name} | {figures} |")
    total = TENANTS * (day + minute) + APPS * app * 6 // 10 + REPLICAS * (flight + leases) // 1000
    return TEXT.format(
        loads="\n".join(rows),
        costs="\n".join(f"| {name} | {cost:.0f} |" for name, cost in costs.items()),
        kept="\n".join(f"| {name} | {size:,} |" for name, size in kept.items()),
        server=server,
        total=total / 1e6,
        held=held * TENANTS / 1000 / 1e6,
        scale=TENANTS // TENANTS_SIMULATED,
        replicas=REPLICAS,
        tenants=TENANTS,
        apps=APPS,
        simulated=TENANTS_SIMULATED,
    )


def main() -> None:
    binary = servers.valkey()
    assert binary is not None, servers.MISSING
    with servers.server(binary) as server:
        version = server.client.info("server")
        name = f"Valkey {version['valkey_version']}" if "valkey_version" in version else "Redis"
        on = Measured(server)
        costs, kept = dict(times(on)), dict(sizes(on))
    loads = [steady(), backlog(1), backlog(4)]
    FILE.write_text(text(loads, costs, kept, name), encoding="utf-8")


if __name__ == "__main__":
    main()
