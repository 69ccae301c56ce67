"""How a hold ends: by its probe, whatever else is answered meanwhile."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.breaker import BREAKER_FAILURES
from proxy.core.limits.holds import (
    LONGEST_HOLD_SECONDS,
    RESET_MARGIN_SECONDS,
    SILENT_SECONDS,
    HoldAction,
    HoldChange,
    Holds,
    HoldTimes,
)
from proxy.core.model import HoldView, ResponseClass, keys_of
from tests.core.holding import (
    API,
    APP_MINUTE,
    BROKEN,
    CONCURRENT,
    KEYS,
    MAINTENANCE,
    MINUTE,
    OFFLINE,
    OK,
    OWN,
    SAYS_NOTHING,
    TENANT,
    UNREACHABLE,
    Story,
)


@pytest.fixture
def story() -> Story:
    return Story()


# ---- The probe


def test_exactly_one_goes_when_the_time_is_up_and_all_others_wait_for_it(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    assert story.send(299.9) is None
    probe = story.send(300.0)
    assert probe is not None
    assert [story.send(300.0 + tenths / 10) for tenths in range(50)] == [None] * 50
    [change] = story.answer(OK, 304.9, sent_at=300.0, permit=probe)
    assert change == HoldChange(HoldAction.ENDED, TENANT, "offline", 300.0)
    assert story.send(304.9) is not None
    assert story.send(304.9) is not None


def test_a_probe_of_two_holds_decides_each_for_itself(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    story.answer(MAINTENANCE, 0.0, sent_at=-1.0)
    probe = story.send(300.0)
    assert probe is not None
    changes = story.answer(OFFLINE, 301.0, sent_at=300.0, permit=probe)
    assert [(change.action, change.key) for change in changes] == [
        (HoldAction.EXTENDED, TENANT),
        (HoldAction.INCONCLUSIVE, API),
    ]
    assert story.send(302.0) is None
    assert story.send(302.0, keys_of("app", "t2", "accounting")) is not None


def test_a_probe_that_fails_begins_its_hold_anew(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    probe = story.send(300.0)
    assert probe is not None
    [change] = story.answer(OFFLINE, 302.0, sent_at=300.0, permit=probe)
    assert change == HoldChange(HoldAction.EXTENDED, TENANT, "offline", 602.0)
    assert story.send(601.0) is None
    assert story.send(602.0) is not None


def test_a_probe_that_shows_nothing_leaves_the_next_one_to_find_out(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    probe = story.send(300.0)
    assert probe is not None
    [change] = story.answer(SAYS_NOTHING, 301.0, sent_at=300.0, permit=probe)
    assert change.action is HoldAction.INCONCLUSIVE
    second = story.send(301.0)
    assert second is not None
    assert story.send(301.0) is None


def test_a_probe_that_breaks_says_nothing_of_the_api_until_another_organisations_breaks_too(
    story: Story,
) -> None:
    other = keys_of("app", "t2", "accounting")
    story.answer(MAINTENANCE, 0.0, sent_at=-1.0)
    for now in (0.25, 1.25):
        probe = story.send(now)
        assert probe is not None
        [change] = story.answer(BROKEN, now + 0.5, sent_at=now, permit=probe)
        assert change == HoldChange(HoldAction.INCONCLUSIVE, API, "maintenance", 0.25)
    probe = story.send(2.0, other)
    assert probe is not None
    [change] = story.answer(BROKEN, 2.5, sent_at=2.0, permit=probe, keys=other)
    assert change == HoldChange(HoldAction.EXTENDED, API, "maintenance", 3.0)
    probe = story.send(3.0, other)
    assert probe is not None
    [change] = story.answer(BROKEN, 3.5, sent_at=3.0, permit=probe, keys=other)
    assert change.action is HoldAction.INCONCLUSIVE, "and then it is asked anew"


def test_a_probe_that_breaks_lengthens_the_hold_of_its_own_organisation(story: Story) -> None:
    for _ in range(BREAKER_FAILURES):
        story.answer(BROKEN, 0.0, sent_at=-1.0)
    assert story.until(OWN) == 0.25
    probe = story.send(0.25)
    assert probe is not None
    [change] = story.answer(BROKEN, 1.0, sent_at=0.25, permit=probe, again=True)
    assert change == HoldChange(HoldAction.EXTENDED, OWN, "failing", 1.5)


# ---- A probe that says nothing


def test_a_silent_probe_lets_the_next_one_go_and_whoever_comes_then(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    first = story.send(300.0)
    hold = story.holds.active[TENANT]
    assert hold.stops_until(304.9) == 300.0 + SILENT_SECONDS == 305.0
    assert story.send(304.9) is None
    second, third = story.send(305.0), story.send(305.1)
    assert None not in (first, second, third)
    [change] = story.answer(OK, 306.0, sent_at=305.0, permit=second or 0)
    assert change.action is HoldAction.ENDED


@pytest.mark.parametrize(("response", "action"), [(OK, HoldAction.ENDED), (OFFLINE, HoldAction.EXTENDED)])
def test_the_verdict_of_a_probe_that_was_silent_for_long_counts_all_the_same(
    story: Story, response: ResponseClass, action: HoldAction
) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    first, second = story.send(300.0), story.send(306.0)
    assert first is not None
    assert second is not None
    [change] = story.answer(response, 310.0, sent_at=300.0, permit=first)
    assert change.action is action


def test_a_silent_probe_that_shows_nothing_in_the_end_keeps_nobody(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    first, second = story.send(300.0), story.send(306.0)
    assert story.answer(SAYS_NOTHING, 307.0, sent_at=300.0, permit=first or 0) == []
    [change] = story.answer(SAYS_NOTHING, 308.0, sent_at=306.0, permit=second or 0)
    assert change.action is HoldAction.INCONCLUSIVE
    third = story.send(308.0)
    assert third is not None
    assert story.send(312.9) is None, "its own silence begins anew"
    assert story.send(313.0) is not None


def test_a_probe_that_nobody_wants_any_more_keeps_nobody_but_its_good_answer_ends_the_hold(
    story: Story,
) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    probe = story.send(300.0)
    assert probe is not None
    [change] = story.holds.let_go(KEYS, probe)
    assert change == HoldChange(HoldAction.INCONCLUSIVE, TENANT, "offline", 300.0)
    assert story.holds.let_go(KEYS, probe) == []
    assert story.send(300.1) is not None
    [change] = story.answer(OK, 301.0, sent_at=300.0, permit=probe)
    assert change.action is HoldAction.ENDED


def test_a_probe_always_brings_a_verdict_even_of_a_hold_without_length() -> None:
    holds = Holds(HoldTimes(backoff=0.0))
    holds.settle(KEYS, 1, 0.0, MAINTENANCE, None, 0.0, 0.5)
    for permit in range(2, 5):
        assert holds.blocking(KEYS, 0.0) is None
        assert holds.probe(KEYS, permit, 0.0) == (API,)
        assert holds.blocking(KEYS, 0.0) is not None
        [change] = holds.settle(KEYS, permit, 0.0, MAINTENANCE, None, 0.0, 0.5)
        assert change.action is HoldAction.EXTENDED


def test_a_hold_without_a_probe_just_ends(story: Story) -> None:
    story.answer(CONCURRENT, 0.0, sent_at=-1.0)
    assert story.send(0.2) is None
    assert tuple(story.holds.each(0.2)) == (HoldView(TENANT, "concurrent", 0.25 - 0.2, False, probe=False),)
    assert tuple(story.holds.each(0.25)) == ()
    assert story.send(0.25) is not None
    assert story.send(0.25) is not None
    assert not story.holds.active


# ---- Echoes: answers to what was sent before the hold began


def test_an_echo_neither_shortens_a_hold_nor_counts_as_another_failure(story: Story) -> None:
    story.answer(MAINTENANCE, 0.0, sent_at=-1.0, random=0.5)
    for _ in range(4):
        assert story.answer(MAINTENANCE, 0.0, sent_at=-0.5, random=0.4) == []
        assert story.answer(MAINTENANCE, 0.0, sent_at=0.0, random=0.4) == []
    assert story.until(API) == 0.375
    hold = story.holds.active.get(API)
    assert hold is not None
    assert hold.failures == 0


def test_an_echo_that_lasts_longer_gives_the_hold_its_end_and_its_reason(story: Story) -> None:
    story.answer(MINUTE, 0.0, sent_at=-1.0, retry_after=20.0)
    [change] = story.answer(OFFLINE, 1.0, sent_at=-0.5)
    assert change == HoldChange(HoldAction.EXTENDED, TENANT, "offline", 301.0)
    assert story.answer(CONCURRENT, 2.0, sent_at=-0.5) == []
    assert story.until(TENANT) == 301.0


def test_a_success_that_was_sent_before_a_hold_began_never_ends_it(story: Story) -> None:
    story.answer(OFFLINE, 10.0, sent_at=9.0)
    assert story.answer(OK, 11.0, sent_at=9.9) == []
    assert story.answer(OK, 11.0, sent_at=10.0) == []
    assert story.send(12.0) is None


def test_a_success_that_was_sent_later_ends_it(story: Story) -> None:
    story.answer(OFFLINE, 10.0, sent_at=9.0)
    [change] = story.answer(OK, 11.0, sent_at=10.5)
    assert change.action is HoldAction.ENDED


def test_an_echo_does_not_take_the_probe_its_verdict_away(story: Story) -> None:
    story.answer(MINUTE, 0.0, sent_at=-1.0, retry_after=1.6)
    probe = story.send(2.0)
    assert probe is not None
    story.answer(OFFLINE, 3.0, sent_at=-0.5)
    [change] = story.answer(SAYS_NOTHING, 4.0, sent_at=2.0, permit=probe)
    assert change == HoldChange(HoldAction.INCONCLUSIVE, TENANT, "offline", 303.0)
    assert story.send(5.0) is None, "its time is not up"
    second = story.send(303.0)
    assert second is not None
    story.answer(OK, 304.0, sent_at=303.0, permit=second)
    assert not story.holds.active


# ---- Any story

rows = st.sampled_from(
    [OK, SAYS_NOTHING, BROKEN, UNREACHABLE, OFFLINE, MINUTE, APP_MINUTE, CONCURRENT, MAINTENANCE]
)


@given(st.lists(st.tuples(rows, st.booleans(), st.floats(0.0, 400.0)), max_size=40), st.integers(0, 2**16))
def test_whatever_is_answered_no_hold_has_two_probes_and_none_is_for_ever(
    moves: list[tuple[ResponseClass, bool, float]], seed: int
) -> None:
    story, random, now = Story(), Random(seed), 0.0
    flying: dict[int, float] = {}
    for response, lands, pause in moves:
        now += pause
        held = {key for key in KEYS if story.holds.active.get(key)}
        permit = story.send(now)
        if permit is not None:
            flying[permit] = now
            for key in KEYS:
                hold = story.holds.active.get(key)
                assert hold is None or hold.probing == permit
                assert hold is None or key in held
        if flying and lands:
            landed = random.choice(sorted(flying))
            story.answer(
                response,
                now,
                sent_at=flying.pop(landed),
                permit=landed,
                retry_after=random.choice([None, 0.0, 22.0, 1e7]),
                random=random.random(),
            )
        for key in KEYS:
            hold = story.holds.active.get(key)
            if hold is not None:
                assert hold.until <= now + LONGEST_HOLD_SECONDS + RESET_MARGIN_SECONDS
                assert hold.probing is None or hold.probing in flying
    for permit, sent_at in sorted(flying.items()):
        story.answer(SAYS_NOTHING, now, sent_at=sent_at, permit=permit)
    assert story.send(now + LONGEST_HOLD_SECONDS + 1.0) is not None
