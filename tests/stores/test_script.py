"""What the script is asked and answers, on a real server and by its clock."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from random import Random

import pytest
import redis

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import CONCURRENT, Ask, Denial, Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldChange, HoldTimes
from proxy.core.model import Execution, HoldKey, HoldRule, Remaining, ResponseClass, Scope, keys_of
from proxy.stores.lua import HOLDS_SAMPLED, HOLDS_TOLD, sources
from proxy.stores.script import (
    Arguments,
    Beat,
    Decision,
    Held,
    Reply,
    Room,
    Script,
    Settled,
    Void,
    VoidReason,
    event,
)
from tests.stores.histories import Story

CAPS = Caps(minute=3, concurrent=2)
T1 = Ask("app", "t1", "accounting")
OK = ResponseClass("success", Execution.DONE, healthy=True)
OFFLINE = ResponseClass("offline", Execution.REJECTED, HoldRule(Scope.TENANT, "offline", "offline"))
NEVER_SENT = ResponseClass("connect_failed", Execution.NEVER_SENT)
TENANT = HoldKey(Scope.TENANT, app="app", tenant="t1")
NOW = 100.0


class Replica:
    """One replica's calls. Its clock stands still at `NOW`."""

    def __init__(self, client: redis.Redis, name: str, caps: Caps = CAPS) -> None:
        self.client = client
        self.script = Script("xero-proxy", "mine", name, caps, HoldTimes())
        self.numbers = 0
        self.channel = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # the library left it so
        for channel in self.script.channels:
            self.channel.subscribe(channel)
            self.channel.get_message(timeout=5.0)

    def run(self, arguments: Arguments) -> Reply:
        operation, *rest = arguments
        command = ("EVAL", self.script.sources[operation].text, 1, self.script.namespace, *rest)
        reply: Reply = self.client.execute_command(*command)  # type: ignore[no-untyped-call]  # as above
        return reply

    def ask(
        self, ask: Ask = T1, *, more: bool = False, epoch: str = "", void_after: float | None = None
    ) -> Decision:
        self.numbers += 1
        asked = self.script.acquire(ask, self.numbers, more=more, epoch=epoch, void_after=void_after)
        return self.script.decision(self.run(asked), ask, self.numbers, NOW)

    def granted(self, ask: Ask = T1) -> Permit:
        permit = self.ask(ask).outcome
        assert isinstance(permit, Permit)
        return permit

    def settle(self, permit: Permit, row: ResponseClass = OK, remaining: Remaining | None = None) -> Settled:
        sent = row is not NEVER_SENT
        settlement = Settlement(row, sent, NOW, remaining or Remaining())
        return self.script.settled(self.run(self.script.settle(permit, settlement, NOW, 0.5)), permit, NOW)

    def beat(self, lease: float = 6.0) -> Beat:
        return self.script.beaten(self.run(self.script.beat(lease)))

    def clear(self, key: HoldKey) -> HoldChange | None:
        return self.script.cleared(self.run(self.script.clear(key)), key, NOW)

    def heard(self) -> list[Room | Held | None]:
        """All that was published so far, of which nothing was heard before."""
        self.client.publish(self.script.channels[1], '["until here"]')
        events = []
        while (message := self.channel.get_message(timeout=5.0)) and message["data"] != b'["until here"]':
            events.append(event(message["data"], NOW))
        return events


@pytest.fixture
def two(valkey: redis.Redis) -> Iterator[tuple[Replica, Replica]]:
    valkey.flushall()
    one, other = Replica(valkey, "one"), Replica(valkey, "other")
    yield one, other
    one.channel.close()
    other.channel.close()


Two = tuple[Replica, Replica]


def test_what_one_replica_took_another_cannot_take(two: Two) -> None:
    one, other = two
    decision = one.ask()
    assert isinstance(decision.outcome, Permit)
    assert isinstance(other.ask().outcome, Permit)
    assert other.ask().outcome == CONCURRENT
    assert not one.settle(decision.outcome).lost
    assert isinstance(other.ask().outcome, Permit)


def test_a_days_count_ends_with_its_list(valkey: redis.Redis) -> None:
    story = Story(valkey, Caps(day=4), Random(1), busy=True)
    for pause in (301.0, 301.0, 86_700.0 - 301.0):
        story.acquire("r1", T1)
        story.now += pause
    story.do("DEL", "{xero-proxy:}:t:3:app:t1:d")
    story.acquire("r1", T1)
    story.same_accounts()


def test_of_a_replica_that_lost_touch_only_what_it_holds_is_kept(two: Two) -> None:
    one, other = two
    held, settled = one.granted(), one.granted()
    one.run(one.script.beat(held=[held.number]))
    assert one.settle(settled).lost
    assert not one.settle(held).lost
    assert isinstance(other.ask().outcome, Permit)
    assert other.ask().outcome != CONCURRENT


def test_the_name_of_each_script_is_what_the_server_calls_it(valkey: redis.Redis) -> None:
    for source in sources(CAPS, HoldTimes()).values():
        assert valkey.script_load(source.text).encode() == source.sha


def test_all_keys_are_of_one_slot_and_expire(valkey: redis.Redis) -> None:
    story = Story(valkey, Caps(minute=4, concurrent=2), Random(3), busy=False)
    kinds = set()
    for step in range(300):
        story.step()
        for key in () if step % 10 else map(bytes.decode, story.do("KEYS", "*")):
            kinds.add(key.split(":")[2])
            assert key.startswith("{xero-proxy:}:")
            assert story.do("TTL", key) > 0, key
    assert kinds == {"t", "a", "holds", "failures", "called", "permits", "replicas", "epoch"}


def test_names_of_any_kind_are_kept_apart(two: Two) -> None:
    one, _ = two
    asks = [
        *(Ask("a:b", "c", "x"), Ask("a", "b:c", "x"), Ask("1:a", "c", "x"), Ask("a", "", "x")),
        *(Ask("a", None, "x"), Ask("é", "\udcff\n'", "x"), Ask("{a}", "*", 'y"')),
    ]
    for ask in asks:
        if ask.tenant is not None:
            permits = [one.granted(ask), one.granted(ask)]
            assert one.ask(ask).outcome == CONCURRENT
            one.settle(permits[0], OFFLINE)
    holds = one.beat().holds
    assert holds is not None
    assert {hold.key for hold in holds} == {
        HoldKey(Scope.TENANT, ask.app, ask.tenant) for ask in asks if ask.tenant is not None
    }


def test_a_question_that_nobody_waits_for_is_not_answered(two: Two) -> None:
    one, _ = two
    server_time = one.beat().server_time
    assert one.ask(void_after=server_time - 1.0).outcome == Void(VoidReason.LATE)
    assert isinstance(one.ask(void_after=server_time + 1000.0).outcome, Permit)
    assert isinstance(one.ask().outcome, Permit)  # the second of two


def test_a_question_for_a_state_that_is_lost_is_not_answered(two: Two) -> None:
    one, other = two
    epoch = one.beat().epoch
    assert other.beat().epoch == epoch
    assert isinstance(one.ask(epoch=epoch).outcome, Permit)
    one.client.flushall()
    assert one.ask(epoch=epoch).outcome == Void(VoidReason.EPOCH)
    assert one.beat().epoch != epoch
    assert one.ask(epoch=epoch).outcome == Void(VoidReason.EPOCH)


def test_what_was_sent_before_all_was_lost_still_teaches(two: Two) -> None:
    one, _ = two
    permit = one.granted()
    one.client.flushall()
    settled = one.settle(permit, OFFLINE, Remaining(minute=1))
    assert settled.lost
    assert settled.effects.foreign == 2
    assert [change.key for change in settled.effects.holds] == [TENANT]
    again = one.ask(replace(T1, tenant="t2"))
    assert isinstance(again.outcome, Permit)


def test_a_permit_that_never_was_granted_can_be_given_back(two: Two) -> None:
    one, _ = two
    permit = Permit(99, T1, keys_of("app", "t1", "accounting"), NOW)
    settled = one.settle(permit, NEVER_SENT)
    assert settled.lost
    assert [type(one.ask().outcome) for _ in range(3)] == [Permit, Permit, Denial]


def test_others_are_told_of_holds(two: Two) -> None:
    one, _ = two
    permit = one.granted()
    one.settle(permit, OFFLINE)
    [begun] = one.heard()
    assert isinstance(begun, Held)
    assert begun.replica == "one"
    assert (begun.change.action, begun.change.key, begun.change.reason, begun.change.probe) == (
        *(HoldAction.BEGUN, TENANT, "offline", True),
    )
    assert begun.change.until == pytest.approx(NOW + 300.0)
    cleared = one.clear(TENANT)
    assert cleared is not None
    assert cleared.until == pytest.approx(NOW + 300.0, abs=5.0)
    [told] = one.heard()
    assert isinstance(told, Held)
    assert told.change.action is HoldAction.CLEARED
    assert one.clear(TENANT) is None


def test_others_are_told_of_room_where_somebody_waits_for_it(two: Two) -> None:
    one, other = two
    permits = [one.granted(), one.granted()]
    one.settle(permits.pop())
    assert one.heard() == []
    one.granted()
    assert other.ask().outcome == CONCURRENT
    one.settle(permits.pop())
    assert other.heard() == [Room("one", "app", "t1")]
    assert one.heard() == []


def test_who_finds_another_dead_hears_of_the_room_that_this_makes(two: Two) -> None:
    one, other = two
    one.granted()
    one.granted()
    assert isinstance(other.ask().outcome, Denial)
    one.beat(lease=0.0)
    assert Room("one", "app", "t1") in other.heard()
    assert isinstance(other.ask().outcome, Permit)


def test_what_is_published_by_another_version_is_passed_over() -> None:
    assert event(b'["news", "r1"]', NOW) is None
    assert event(b'{"room": 1}', NOW) is None


def test_very_many_holds_are_not_told_with_each_beat(two: Two) -> None:
    one, _ = two
    for number in range(HOLDS_TOLD + 1):
        ask = Ask("app", f"t{number}", "accounting")
        one.settle(one.granted(ask), OFFLINE)
        if number == HOLDS_TOLD - 1:
            holds = one.beat().holds
            assert holds is not None
            assert len(holds) == HOLDS_TOLD
    assert one.beat().holds is None


def test_holds_that_nobody_asks_about_again_hide_no_others_for_ever(valkey: redis.Redis) -> None:
    story = Story(valkey, Caps(), Random(1), busy=True)
    for number in range(HOLDS_TOLD + 1):
        story.acquire("r1", replace(T1, tenant=f"t{number}"))
        story.settle("r1", story.steps, Settlement(OFFLINE, True, story.now))
    story.now += 86_500.0
    script = story.script("r1")
    told = [script.beaten(story.run(script, script.beat())).holds or () for _ in range(6)]
    assert [len(holds) for holds in told] == [*range(HOLDS_TOLD + 1 - HOLDS_SAMPLED, 0, -HOLDS_SAMPLED), 0]


def test_calls_are_given_back_to_the_day_wherever_they_were_counted(valkey: redis.Redis) -> None:
    story, settlement = Story(valkey, Caps(day=2), Random(1), True), Settlement(NEVER_SENT, False, -inf)
    for replica in ("r1", "r2"):
        story.acquire(replica, T1)
        story.now += 301.0
    story.settle("r2", 2, settlement)
    story.settle("r1", 1, settlement)
    story.acquire("r1", T1)
    story.same_accounts()


def test_the_wheel_holds_the_script(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    [wheel] = tmp_path.iterdir()
    packed = set(zipfile.ZipFile(wheel).namelist())
    parts = {str(part.relative_to(root)) for part in root.glob("proxy/stores/lua/**/*.lua")}
    assert len(parts & packed) == 21
