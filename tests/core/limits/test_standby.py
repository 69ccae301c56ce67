"""A replica alone keeps to its share, and trusts the server again when nothing unknown counts any more."""

from __future__ import annotations

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldChange, HoldTimes
from proxy.core.limits.standby import REPLICAS_UNSEEN, Standby
from proxy.core.model import Limit, Remaining, keys_of
from tests.strict_xero import OK, REFUSED, TOO_MANY

ASK = Ask("app", "tenant", "accounting")
CAPS = Caps(minute=40, concurrent=8)


class Replica:
    """One, at 1000 s."""

    def __init__(self, replicas: int = 4) -> None:
        self.now = 1000.0
        self.standby = Standby(CAPS, HoldTimes())
        if replicas:
            self.standby.joined(replicas, self.now)

    def own(self) -> Permit:
        permit = self.standby.acquire(ASK, self.now)
        assert isinstance(permit, Permit)
        return permit

    def told(self) -> Permit:
        """A permit that the server granted."""
        permit = Permit(self.standby.limits.number(), ASK, keys_of("app", "tenant", "accounting"), self.now)
        self.standby.charge(permit)
        return permit

    def settle(self, permit: Permit) -> None:
        self.standby.settle(permit, Settlement(OK, True, self.now), self.now, 0.0)

    def agrees(self) -> bool:
        """Whether it decides together with the server."""
        permit = self.standby.acquire(ASK, self.now)
        if isinstance(permit, Permit):
            self.standby.settle(permit, Settlement(REFUSED, False, self.now), self.now, 0.0)
        return permit is not None

    def fall_and_join(self, replicas: int = 4) -> None:
        self.standby.fell(self.now)
        self.standby.joined(replicas, self.now)


def share(replica: Replica) -> int:
    """How many it takes at once."""
    permits = []
    while isinstance(permit := replica.standby.acquire(ASK, replica.now), Permit):
        permits.append(permit)
    assert permit == Denial(Limit.CONCURRENT, None)
    for each in permits:
        replica.standby.settle(each, Settlement(REFUSED, False, replica.now), replica.now, 0.0)
    return len(permits)


def test_whoever_never_reached_the_server_takes_a_quarter() -> None:
    replica = Replica(replicas=0)
    assert share(replica) == CAPS.concurrent // REPLICAS_UNSEEN
    assert replica.standby.granted_alone(replica.own())


def test_the_server_decides_alone_once_it_is_reached() -> None:
    replica = Replica()
    assert not replica.agrees()
    assert not replica.standby.granted_alone(replica.told())


def test_a_replica_that_fell_keeps_to_the_share_of_those_last_seen() -> None:
    replica = Replica(replicas=2)
    replica.standby.fell(replica.now)
    replica.standby.fell(replica.now)
    assert share(replica) == CAPS.concurrent // 2


def test_what_the_server_granted_before_counts_towards_the_share() -> None:
    replica = Replica(replicas=2)
    permits = [replica.told() for _ in range(4)]
    replica.standby.fell(replica.now)
    assert replica.standby.acquire(ASK, replica.now) == Denial(Limit.CONCURRENT, None)
    replica.settle(permits[0])
    replica.own()


def test_back_again_both_agree_for_a_window() -> None:
    replica = Replica()
    replica.fall_and_join()
    replica.now += CAPS.minute_seconds - 0.1
    assert replica.agrees()
    replica.now += 0.2
    assert not replica.agrees()


def test_and_until_a_window_after_the_last_call_that_the_server_does_not_know() -> None:
    replica = Replica()
    replica.standby.fell(replica.now)
    permit = replica.own()
    replica.standby.joined(4, replica.now)
    replica.now += 100.0
    assert replica.agrees()
    replica.settle(permit)
    replica.now += CAPS.minute_seconds - 0.1
    assert replica.agrees()
    replica.now += 0.2
    assert not replica.agrees()


def test_a_permit_without_the_servers_leave_is_one_that_it_does_not_know() -> None:
    replica = Replica()
    replica.fall_and_join()
    permit = replica.own()
    assert not replica.standby.granted_alone(permit)
    replica.standby.unheard(permit)
    assert replica.standby.granted_alone(permit)
    replica.now += 100.0
    assert replica.agrees()


def test_a_server_that_is_back_may_not_know_what_it_granted() -> None:
    replica = Replica()
    permit = replica.told()
    replica.fall_and_join()
    assert not replica.standby.granted_alone(permit)
    replica.now += 100.0
    assert replica.agrees()
    replica.settle(permit)
    replica.now += CAPS.minute_seconds + 0.1
    assert not replica.agrees()


def test_a_server_that_starts_again_has_not_seen_everybody_yet() -> None:
    replica = Replica(replicas=4)
    replica.fall_and_join(replicas=1)
    assert replica.standby.replicas == 1
    assert share(replica) == CAPS.concurrent // 4
    replica.fall_and_join(replicas=1)
    assert share(replica) == CAPS.concurrent // 4
    replica.fall_and_join(replicas=8)
    assert share(replica) == CAPS.concurrent // 8


def test_a_fall_long_after_counts_those_who_are_there_now() -> None:
    replica = Replica(replicas=4)
    replica.fall_and_join(replicas=1)
    replica.now += 100.0
    replica.standby.fell(replica.now)
    assert share(replica) == CAPS.concurrent


def test_a_first_meeting_after_calls_alone_is_no_different() -> None:
    replica = Replica(replicas=0)
    replica.settle(replica.own())
    replica.standby.joined(4, replica.now)
    assert replica.agrees()


def test_a_permit_is_open_until_its_answer_has_ended() -> None:
    replica = Replica()
    permit = replica.told()
    replica.standby.settle(permit, Settlement(OK, True, replica.now), replica.now, 0.0, ended=False)
    assert replica.standby.open == {permit.number}
    replica.fall_and_join()
    replica.now += 61.0
    assert replica.agrees(), "the server may not know of its place"
    replica.standby.release(permit, replica.now)
    assert not replica.standby.open
    replica.now += 59.0
    assert replica.agrees()
    replica.now += 2.0
    assert not replica.agrees()


def test_a_hold_for_a_limit_that_ended_elsewhere_makes_what_is_believed_here_void() -> None:
    replica, key = Replica(), keys_of("app", "tenant", "accounting")[0]
    limits = replica.standby.limits
    refused = Settlement(TOO_MANY[Limit.MINUTE], True, replica.now, Remaining(minute=0), 22.0)
    replica.standby.settle(replica.told(), refused, replica.now, 0.0)
    replica.standby.follow(HoldChange(HoldAction.BEGUN, key, Limit.MINUTE, replica.now + 22.4), replica.now)
    replica.now += 30.0
    replica.standby.follow(HoldChange(HoldAction.ENDED, key, Limit.MINUTE, replica.now), replica.now)
    assert limits.forecast(ASK, 20, replica.now).at == replica.now
    assert not limits.holds.active


def test_an_operators_word_elsewhere_lets_a_call_ask_here() -> None:
    replica, key = Replica(), keys_of("app", "tenant", "accounting")[0]
    limits = replica.standby.limits
    replica.standby.settle(
        replica.told(), Settlement(OK, True, replica.now, Remaining(day=0)), replica.now, 0.0
    )
    assert limits.forecast(ASK, 0, replica.now).limit == Limit.DAY
    replica.standby.follow(HoldChange(HoldAction.CLEARED, key, Limit.DAY, replica.now), replica.now)
    assert limits.forecast(ASK, 0, replica.now).limit == ""
