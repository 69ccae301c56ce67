"""Turns among replicas, and leases."""

from __future__ import annotations

from random import Random

import pytest

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import CONCURRENT, GRACE_SECONDS, Ask, Denial, Effects, Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldTimes
from proxy.core.limits.sharing import (
    LEASE_SECONDS,
    POLL_SECONDS,
    REAPED_AT_ONCE,
    Contenders,
    Pulse,
    SharedLimits,
)
from proxy.core.model import Limit, Remaining, keys_of
from tests.core.holding import KEYS
from tests.core.permits import CAPS, NEVER_SENT, NOBODY, OFFLINE, OK, T1, T2, about
from tests.core.replicas import Cluster, Replica


def make(caps: Caps = CAPS) -> SharedLimits:
    return SharedLimits(caps, HoldTimes())


class Asking:
    """Replicas that ask and settle, their permits numbered."""

    def __init__(self, caps: Caps = CAPS) -> None:
        self.shared = make(caps)
        self.numbers = 0

    def ask(self, replica: str, now: float, ask: Ask = T1, *, more: bool = False) -> Permit | Denial:
        self.numbers += 1
        return self.shared.acquire(replica, self.numbers, ask, now, more=more)

    def granted(self, replica: str, now: float, ask: Ask = T1, *, more: bool = False) -> int:
        assert isinstance(self.ask(replica, now, ask, more=more), Permit)
        return self.numbers

    def settle(self, replica: str, number: int, now: float, *, sent: bool = True) -> tuple[Effects, bool]:
        claim = Permit(-1, T1, KEYS, now)
        settlement = Settlement(OK if sent else NEVER_SENT, sent, now)
        return self.shared.settle(replica, number, claim, settlement, now, 0.5)


# ---- Turns


def test_whoever_has_had_fewer_places_goes_first() -> None:
    asking = Asking()
    first = asking.granted("a", 0.0, more=True)
    asking.granted("a", 0.0, more=True)
    assert asking.ask("b", 0.0) == CONCURRENT
    asking.settle("a", first, 1.0)
    assert asking.ask("a", 1.0) == Denial(Limit.MINUTE, 1.0 + GRACE_SECONDS)
    asking.granted("b", 1.0)


def test_a_place_is_not_kept_for_longer_than_the_grace() -> None:
    asking = Asking()
    first = asking.granted("a", 0.0)
    asking.granted("a", 0.0)
    assert asking.ask("b", 0.0) == CONCURRENT
    asking.settle("a", first, 0.5)
    assert isinstance(asking.ask("a", 0.5), Denial)
    asking.granted("a", 0.5 + 1.1 * GRACE_SECONDS)


def test_who_missed_its_turn_has_lost_it_until_it_asks_again() -> None:
    contenders = Contenders(60.0, 0, {"a": 1})
    contenders.denied("b", 0.0, None)
    contenders.freed(1.0)
    assert contenders.ahead("a", 1.0) == 1
    assert contenders.ahead("a", 1.1) == 0
    contenders.freed(1.2)
    assert contenders.ahead("a", 1.2) == 0
    contenders.denied("b", 1.2, None)
    assert contenders.ahead("a", 1.2) == 1


def test_where_there_are_places_for_all_nobody_is_sent_behind_another() -> None:
    asking = Asking(Caps(minute=10, concurrent=3))
    numbers = [asking.granted("a", 0.0) for _ in range(3)]
    assert asking.ask("b", 0.0) == CONCURRENT
    for number in numbers[:2]:
        asking.settle("a", number, 0.1)
    asking.granted("a", 0.1)
    assert asking.ask("a", 0.1) == Denial(Limit.CONCURRENT, 0.1 + GRACE_SECONDS)


def test_a_replica_that_asks_for_more_is_waited_for() -> None:
    asking = Asking(Caps(minute=10, concurrent=1))
    first = asking.granted("a", 0.0)
    assert asking.ask("b", 0.0, more=True) == CONCURRENT
    asking.settle("a", first, 0.1)
    second = asking.granted("b", 0.1, more=True)
    asking.settle("b", second, 0.2)
    asking.granted("a", 0.2)


@pytest.mark.parametrize(
    ("caps", "due"),
    [
        (Caps(minute=10, concurrent=10), 1.0),
        (Caps(minute=2, concurrent=10), 60.03),
        (Caps(minute=10, concurrent=1), 1.0 + POLL_SECONDS),
    ],
)
def test_a_replica_that_has_more_to_send_is_expected_when_it_can(caps: Caps, due: float) -> None:
    asking = Asking(caps)
    asking.settle("a", asking.granted("a", 0.0), 0.0)
    asking.granted("a", 1.0, more=True)
    assert asking.shared._contenders["app", "t1"].due == {"a": (1.0, about(due))}


def test_the_count_of_places_begins_anew_with_each_window_of_the_clock() -> None:
    contenders = Contenders(60.0)
    contenders.granted("a", 59.0, None)
    contenders.denied("b", 59.0, 60.5)
    assert contenders.ahead("a", 59.0) == 1
    assert contenders.ahead("a", 60.0) == 0


def test_room_that_nobody_could_foresee_is_offered_to_those_who_wait() -> None:
    asking = Asking(Caps(minute=2, concurrent=5))
    first = asking.granted("a", 0.0)
    asking.settle("a", asking.granted("a", 0.0), 0.1)
    assert asking.ask("b", 1.0) == Denial(Limit.MINUTE, about(60.13))
    asking.settle("a", first, 2.0, sent=False)
    assert isinstance(asking.ask("a", 2.0), Denial)
    asking.granted("b", 2.01)


def test_calls_of_no_organisation_take_no_turns() -> None:
    asking = Asking(Caps(app_minute=2))
    asking.settle("a", asking.granted("a", 0.0, NOBODY), 0.0)
    asking.granted("b", 0.0, NOBODY, more=True)
    assert isinstance(asking.ask("a", 0.0, NOBODY), Denial)
    assert not asking.shared._contenders


def test_who_waits_for_a_hold_waits_for_no_place() -> None:
    asking = Asking()
    number = asking.granted("a", 0.0)
    asking.shared.settle("a", number, Permit(-1, T1, KEYS, 0.0), Settlement(OFFLINE, True, 0.1), 0.1, 0.5)
    assert isinstance(asking.ask("b", 0.2), Denial)
    assert not asking.shared._contenders["app", "t1"].due


@pytest.mark.parametrize("network", [0.002, 0.02])
@pytest.mark.parametrize("seed", range(3))
def test_four_replicas_share_a_minute_evenly_and_use_it_up(network: float, seed: int) -> None:
    replicas = [Replica(name, 150) for name in "abcd"]
    cluster = Cluster(Caps(), replicas, Random(seed), network)
    cluster.run(1000.0)
    last = max(max(replica.sent) for replica in replicas)
    assert sum(len(replica.sent) for replica in replicas) == 600
    assert cluster.most_in_any(60.0) <= 60
    assert cluster.most_in_progress <= 5
    assert 540.0 / last >= 0.97
    for begin in range(0, 540, 60):
        assert all(0.2 <= share <= 0.3 for share in cluster.shares(begin, begin + 60))


def test_four_replicas_share_the_concurrency_evenly_and_use_it_up() -> None:
    replicas = [Replica(name, 10_000) for name in "abcd"]
    cluster = Cluster(Caps(minute=6000, day=10**6), replicas, Random(1))
    cluster.run(60.0)
    calls = sum(len(replica.sent) for replica in replicas)
    assert cluster.most_in_progress == 5
    assert calls * 0.175 / 5 >= 0.97 * 60.0
    assert all(0.24 <= share <= 0.26 for share in cluster.shares(0.0, 60.0))


def test_a_replica_that_hears_nothing_costs_the_others_little() -> None:
    replicas = [Replica("deaf", 10_000, deaf=True), *(Replica(name, 10_000) for name in "abc")]
    cluster = Cluster(Caps(minute=6000, day=10**6), replicas, Random(1))
    cluster.run(60.0)
    calls = sum(len(replica.sent) for replica in replicas)
    assert calls * 0.175 / 5 >= 0.85 * 60.0


# ---- Leases


def test_what_a_dead_replica_held_is_free_again() -> None:
    asking = Asking()
    asking.granted("a", 0.0)
    asking.granted("a", 0.0)
    assert asking.ask("b", 1.0) == CONCURRENT
    assert asking.shared.beat("b", LEASE_SECONDS - 0.1) == Pulse(2, lapsed=False, reaped=0, more=False)
    assert asking.shared.beat("b", LEASE_SECONDS) == Pulse(1, lapsed=False, reaped=2, more=False)
    [view], _ = asking.shared.limits.view(LEASE_SECONDS)
    assert (view.in_flight, view.minute_remaining) == (0, 1)
    asking.granted("b", LEASE_SECONDS)


def test_who_asks_or_settles_lives() -> None:
    asking = Asking()
    number = asking.granted("a", 0.0)
    asking.settle("a", number, 4.0)
    assert asking.shared.beat("b", 9.0) == Pulse(2, lapsed=True, reaped=0, more=False)


def test_a_replica_that_takes_leave_leaves_nothing() -> None:
    asking = Asking()
    asking.granted("a", 0.0)
    assert asking.shared.beat("a", 1.0, lease=0.0) == Pulse(0, lapsed=False, reaped=1, more=False)


def test_of_a_replica_that_says_what_it_holds_nothing_else_is_kept() -> None:
    asking = Asking()
    held, settled = asking.granted("a", 0.0), asking.granted("a", 0.0)
    asking.shared.beat("a", 1.0, held={held})
    assert asking.settle("a", settled, 1.0)[1]
    asking.granted("b", 1.0)
    assert asking.ask("b", 1.0) == CONCURRENT
    assert not asking.settle("a", held, 1.0)[1]


def test_a_lost_permit_teaches_but_frees_nothing_twice() -> None:
    asking = Asking()
    number = asking.granted("a", 0.0)
    asking.shared.beat("b", 7.0)
    claim = Permit(-1, T1, KEYS, 0.0)
    settlement = Settlement(OK, True, 7.5, Remaining(minute=0))
    assert asking.shared.settle("a", number, claim, settlement, 7.5, 0.5) == (Effects(foreign=2), True)
    [view], _ = asking.shared.limits.view(7.5)
    assert (view.in_flight, view.minute_remaining) == (0, 0)


def test_a_permit_that_never_was_granted_can_be_given_back() -> None:
    asking = Asking()
    assert asking.settle("a", 1, 0.0, sent=False) == (Effects(), True)


def test_many_permits_of_the_dead_are_settled_little_by_little() -> None:
    asking = Asking(Caps(minute=1000, concurrent=1000))
    for number in range(REAPED_AT_ONCE + 1):
        asking.granted("ab"[number % 2], 0.0, (T1, T2)[number % 2])
    assert asking.shared.beat("c", 7.0) == Pulse(1, lapsed=True, reaped=REAPED_AT_ONCE, more=True)
    assert asking.shared.beat("c", 7.0) == Pulse(1, lapsed=False, reaped=1, more=False)


# ---- Answers that are known before they end


def test_a_place_is_free_for_the_others_when_the_last_byte_has_come() -> None:
    asking = Asking()
    first, _ = asking.granted("a", 0.0), asking.granted("a", 0.0)
    claim, settlement = Permit(-1, T1, KEYS, 0.0), Settlement(OK, True, 0.1)
    assert asking.ask("b", 0.0) == CONCURRENT
    effects, lost = asking.shared.settle("a", first, claim, settlement, 0.1, 0.5, ended=False)
    assert (effects, lost) == (Effects(), False)
    assert asking.shared.settle("a", first, claim, settlement, 0.1, 0.5)[1], "what it means is known"
    assert asking.ask("b", 0.2) == CONCURRENT
    assert asking.shared.release("a", first, 0.3) is False
    assert asking.shared.release("a", first, 0.3) is True
    asking.granted("b", 0.3)


@pytest.mark.parametrize("ask", [T1, NOBODY])
def test_a_replica_that_dies_inside_an_answer_frees_its_place_and_says_nothing_of_it_again(ask: Ask) -> None:
    asking = Asking()
    number = asking.granted("a", 0.0, ask)
    claim = Permit(-1, ask, keys_of(ask.app, ask.tenant, ask.api), 0.0)
    asking.shared.settle("a", number, claim, Settlement(OK, True, 0.1), 0.1, 0.5, ended=False)
    asking.shared.beat("a", 1.0)
    asking.shared.beat("b", 1.0 + LEASE_SECONDS)
    account = asking.shared.limits.accounts.tenants.get(("app", "t1"))
    assert account is None or account.in_flight == 0
    assert asking.shared.release("a", number, 8.0) is True


def test_the_others_need_not_wait_for_a_probe_that_nobody_wants() -> None:
    asking = Asking()
    number = asking.granted("a", 0.0)
    claim = Permit(-1, T1, KEYS, 0.0)
    asking.shared.settle("a", number, claim, Settlement(OFFLINE, True, 0.1), 0.1, 0.5)
    probe = asking.granted("a", 301.0)
    assert isinstance(asking.ask("b", 301.1), Denial)
    [change] = asking.shared.let_go("a", probe)
    assert change.action is HoldAction.INCONCLUSIVE
    assert asking.shared.let_go("a", 12345) == []
    asking.granted("b", 301.2)
