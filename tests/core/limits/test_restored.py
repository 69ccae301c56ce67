"""What one process recorded and another restored: never more may be sent than if it had lived on."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answers.idempotency import KEY_LIFE_SECONDS, Keys
from proxy.core.limits.accounts import Caps
from proxy.core.limits.day import ASK_AGAIN_SECONDS, Day, DayRecord
from proxy.core.limits.decision import Ask, Denial, Limits, Permit, Settlement
from proxy.core.limits.holds import RESTORED_SECONDS, Hold, Holds
from proxy.core.limits.window import RECORDED_PARTS, Window, WindowRecord
from proxy.core.model import Limit, Remaining, ResponseClass
from tests.core.holding import KEYS, TENANT, TIMES, Story
from tests.core.holding import OK as HEALTHY
from tests.core.permits import NEVER_SENT, NOBODY, OK, SPAN, T1, T2, call, granted, make

DUST = 1e-6
PART = 60.0 / RECORDED_PARTS
CAPS = Caps(minute=6, minute_seconds=60.0, day=40, concurrent=4, app_minute=9)
AIM = [T1, T2, NOBODY]

histories = st.lists(
    st.tuples(
        st.floats(0.0, 30.0),
        st.sampled_from(AIM),
        st.sampled_from(["ask", "answer", "answer", "never sent"]),
        st.none() | st.integers(0, 6),
        st.none() | st.integers(0, 40),
    ),
    max_size=60,
)


class Life:
    """A process that asks and is answered, and one that takes over from what it recorded."""

    def __init__(self) -> None:
        self.limits = Limits(CAPS, TIMES)
        self.now = 1000.0
        self.flying: list[Permit] = []

    def live(self, steps: list[tuple[float, Ask, str, int | None, int | None]]) -> None:
        for seconds, ask, what, minute, day in steps:
            self.now += seconds
            if what == "ask":
                permit = self.limits.acquire(ask, self.now)
                if isinstance(permit, Permit):
                    self.flying.append(permit)
            elif self.flying:
                row, sent = (OK, True) if what == "answer" else (NEVER_SENT, False)
                self.settle(row, Settlement(row, sent, self.now, Remaining(minute, day)))

    def settle(self, row: ResponseClass, settlement: Settlement | None = None) -> None:
        settlement = settlement or Settlement(row, sent=True, head_at=self.now)
        self.limits.settle(self.flying.pop(0), settlement, self.now, 0.5)

    def succeeded(self, seconds: float, shift: float) -> Limits:
        """The limits of a process that begins `seconds` later with a clock that is `shift` ahead."""
        after = Limits(CAPS, TIMES)
        for ask in AIM:
            if record := self.limits.accounts.record(ask.app, ask.tenant, self.now):
                after.accounts.restore(
                    ask.app, ask.tenant, record, self.now + shift, self.now + seconds + shift
                )
        self.now += seconds
        while self.flying:
            self.settle(OK)
        return after


@given(histories, st.floats(0.0, 70.0), st.sampled_from([0.0, -500.0, 1e6]), st.lists(st.floats(0, 70)))
def test_what_was_spent_stays_spent_and_hardly_longer(
    steps: list[tuple[float, Ask, str, int | None, int | None]],
    seconds: float,
    shift: float,
    later: list[float],
) -> None:
    life = Life()
    life.live(steps)
    after = life.succeeded(seconds, shift)
    for then in (life.now, *(life.now + moment for moment in later)):
        pairs = [(life.limits.accounts.apps.get("app"), after.accounts.apps.get("app"))]
        for key, tenant in life.limits.accounts.tenants.items():
            other = after.accounts.tenants[key]
            pairs.append((tenant.minute, other.minute))
            assert other.day.left(then + shift) <= tenant.day.left(then + DUST)
            assert other.day.left(then + shift) >= tenant.day.left(then - 1.0 - DUST) or tenant.day._said
        for before, kept in pairs:
            if before is not None and kept is not None:
                assert kept.occupied(then + shift) >= before.occupied(then + DUST)
                assert kept.occupied(then + shift) <= before.occupied(then - PART - DUST)
                assert kept.foreign(then + shift) >= before.foreign(then + DUST)


def test_calls_in_flight_count_as_answered_when_the_next_process_begins() -> None:
    limits, after = make(), make()
    granted(limits, T1, 100.0)
    record = limits.accounts.record("app", "t1", 101.0)
    assert record == (WindowRecord(1, ()), DayRecord(((1, 1),), None, 1))
    after.accounts.restore(T1.app, T1.tenant, record, 1.0, 6.0)
    assert after.accounts.tenants["app", "t1"].in_flight == 0
    assert after.accounts.tenants["app", "t1"].minute.occupied(5.9 + SPAN) == 1
    assert after.accounts.tenants["app", "t1"].minute.occupied(6.1 + SPAN) == 0


def test_what_nobody_was_charged_for_is_no_record() -> None:
    limits = make()
    assert limits.accounts.record("app", "t1", 1.0) is None
    assert limits.accounts.record("app", None, 1.0) is None


def test_an_answer_never_denies_what_was_restored() -> None:
    """A server that counts fewer calls than are known of has begun a fixed window anew, unless nobody knows
    when those calls came.
    """
    window = Window(60, 60.0)
    window.restore(WindowRecord(0, ((20, 30), (2, 10)), ((5, 3),)), 100.0, 100.0)
    assert (window.occupied(100.0), window.foreign(100.0)) == (43, 3)
    window.dispatch(101.0)
    assert window.learn(101.0, 101.2, 59, 101.2) == 0
    window.settle(101.2)
    assert window.occupied(101.2) == 41, "only what was thought to be of others may not have been"
    window.dispatch(102.0)
    assert window.learn(102.0, 102.2, 2, 102.2) == 16, "a server that counts more has seen others"


def test_calls_of_others_that_were_none_or_are_over_are_not_recorded() -> None:
    window = Window(60, 60.0)
    window.restore(WindowRecord(0, (), ((30, 3), (10, 2))), 100.0, 100.0)
    assert window.record(100.0).others == ((30, 3), (10, 2))
    assert window.record(131.0).others == ((41, 2),)


@pytest.mark.parametrize("at", [-1e9, 100.0 - SPAN])
def test_calls_that_have_left_their_window_are_not_restored(at: float) -> None:
    window = Window(60, 60.0)
    window.restore(WindowRecord(0, ((0, 30),), ((0, 3),)), at, 100.0)
    assert window.idle(100.0)


def test_a_record_from_the_future_is_of_now() -> None:
    """A clock that was set back must not keep anybody waiting for longer than a window."""
    window = Window(60, 60.0)
    window.restore(WindowRecord(0, ((0, 30),), ((0, 3),)), 5000.0, 100.0)
    assert (window.occupied(100.1 + SPAN), window.foreign(100.1 + SPAN)) == (0, 0)
    day = Day(100)
    day.restore(DayRecord(((0, 100),), None, 0), 5000.0, 100.0)
    assert day.earliest(100.0) == 100.0 + ASK_AGAIN_SECONDS


def test_a_spent_day_is_asked_about_again_and_not_later_for_the_restart() -> None:
    day, after = Day(100), Day(100)
    day.dispatch(50.0)
    day.learn(0, 0)
    after.restore(day.record(100.0), 100.0, 500.0)
    assert after.earliest(500.0) == 50.0 + ASK_AGAIN_SECONDS
    assert Day(100).record(1.0) == DayRecord((), None, None)
    fresh = Day(100)
    fresh.restore(DayRecord((), None, None), 1.0, 2.0)
    assert fresh.record(3.0) == DayRecord((), None, None)


def test_whoever_is_met_after_a_loss_may_have_spent_the_minute_when_it_happened() -> None:
    limits = make()
    limits.accounts.spent_at = 90.0
    for ask, limit in ((T1, Limit.MINUTE), (NOBODY, Limit.APP_MINUTE)):
        denial = limits.acquire(ask, 100.0)
        assert isinstance(denial, Denial)
        assert denial.limit == limit
        assert denial.until == pytest.approx(90.0 + SPAN)
    call(limits, T1, 90.1 + SPAN)
    later = make()
    later.accounts.spent_at = 90.0
    call(later, T2, 90.1 + SPAN)


def restored(until: float, now: float = 100.0, *, probe: bool = True, failures: int = 0) -> Story:
    story = Story()
    story.holds.restore(TENANT, Hold("offline", 0.0, until, probe, failures, probing=7), now)
    return story


def test_a_restored_hold_is_capped_and_then_probed() -> None:
    story = restored(5000.0)
    assert story.until(TENANT) == 100.0 + RESTORED_SECONDS
    assert story.send(159.0) is None
    probe = story.send(160.0)
    assert probe is not None
    assert story.send(160.0) is None
    (change,) = story.answer(HEALTHY, 160.5, sent_at=160.0, permit=probe)
    assert change.key == TENANT
    assert not story.holds.active


def test_a_hold_that_is_restored_again_and_again_ends_no_later() -> None:
    holds, now = Holds(TIMES), 100.0
    holds.restore(TENANT, Hold("day", 0.0, 40_000.0, probe=True), now)
    for _ in range(10):
        now += 5.0
        again = Holds(TIMES)
        again.restore(TENANT, holds.active[TENANT], now)
        holds = again
    assert holds.active[TENANT].until == 100.0 + RESTORED_SECONDS


def test_a_hold_whose_probe_was_out_is_probed_at_once() -> None:
    story = restored(90.0)
    assert story.send(100.0) == 1


def test_the_failures_of_a_restored_hold_are_remembered() -> None:
    assert restored(150.0, failures=3).holds.active[TENANT].failures == 3


@pytest.mark.parametrize(("until", "held"), [(90.0, False), (100.0, False), (100.2, True)])
def test_a_hold_without_a_probe_is_over_when_it_is_over(until: float, held: bool) -> None:
    story = restored(until, probe=False)
    assert (TENANT in story.holds.active) is held
    assert (story.holds.blocking(KEYS, 100.0) is not None) is held


def test_the_life_of_a_key_outlives_the_process() -> None:
    keys, after = Keys(), Keys()
    keys.first_used("app", b"old", 10.0)
    keys.first_used("app", b"one", 20.0)
    keys.first_used("app", b"two", 30.0)
    keys.first_used("app", b"one", 40.0)
    used = list(keys.used_since(30.0))
    assert [(first, last) for _, first, last in used] == [(20.0, 40.0), (30.0, 30.0)]
    assert [last for _, _, last in keys.used_since(-inf)] == [40.0, 30.0, 10.0]
    for digest, first, last in reversed(used):
        after.restore(digest, first - 1000.0, last - 1000.0)
    assert after.first_used("app", b"one", 5.0 - 1000.0 + KEY_LIFE_SECONDS) == 20.0 - 1000.0
    assert after.first_used("app", b"two", 100.0) == 100.0, "it rested for long enough to be forgotten"
