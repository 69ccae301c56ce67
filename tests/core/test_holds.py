from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.holds import (
    BREAKER_FAILURES,
    FAILING,
    LONGEST_HOLD_SECONDS,
    RESET_MARGIN_SECONDS,
    HoldAction,
    HoldChange,
    keys_of,
)
from proxy.core.model import HoldView, ResponseClass
from tests.core.holding import (
    API,
    APP,
    APP_MINUTE,
    BROKEN,
    CONCURRENT,
    KEYS,
    MAINTENANCE,
    MINUTE,
    OFFLINE,
    OK,
    SAYS_NOTHING,
    TENANT,
    TIMES,
    Story,
)


@pytest.fixture
def story() -> Story:
    return Story()


# ---- Whom a hold stops


def test_a_request_is_stopped_by_its_tenant_its_app_and_its_api() -> None:
    assert set(KEYS) == {TENANT, APP, API}
    assert set(keys_of("app", None, "accounting")) == {APP, API}


@pytest.mark.parametrize(
    ("response", "stopped", "free"),
    [
        (OFFLINE, [("app", "t1", "files")], [("app", "t2", "accounting"), ("app", None, "accounting")]),
        (APP_MINUTE, [("app", "t2", "files"), ("app", None, "files")], [("other", "t1", "accounting")]),
        (MAINTENANCE, [("other", "t9", "accounting")], [("app", "t1", "files")]),
    ],
)
def test_a_hold_stops_its_scope_and_nobody_else(
    story: Story,
    response: ResponseClass,
    stopped: list[tuple[str, str | None, str]],
    free: list[tuple[str, str | None, str]],
) -> None:
    assert not story.holds.active
    story.answer(response, 10.0, sent_at=9.0, retry_after=20.0)
    assert story.holds.active
    assert all(story.holds.blocking(keys_of(*ask), 11.0) for ask in stopped)
    assert not any(story.holds.blocking(keys_of(*ask), 11.0) for ask in free)


def test_a_request_without_an_organisation_holds_none(story: Story) -> None:
    keys = keys_of("app", None, "identity")
    assert story.answer(MINUTE, 10.0, sent_at=9.0, keys=keys, retry_after=20.0) == []


def test_the_longest_hold_is_the_one_that_is_named(story: Story) -> None:
    story.answer(APP_MINUTE, 0.0, sent_at=-1.0, retry_after=20.0)
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    story.answer(MAINTENANCE, 0.0, sent_at=-1.0)
    blocking = story.holds.blocking(KEYS, 0.1)
    assert blocking is not None
    assert blocking[0] == TENANT


# ---- For how long


@pytest.mark.parametrize(
    ("response", "retry_after", "seconds"),
    [
        (OFFLINE, None, 300.0),
        (OFFLINE, 60.0, 300.0),
        (OFFLINE, 600.0, 600.0 + RESET_MARGIN_SECONDS),
        (MINUTE, 22.0, 22.0 + RESET_MARGIN_SECONDS),
        (MINUTE, 0.0, RESET_MARGIN_SECONDS),
        (MINUTE, 1e9, LONGEST_HOLD_SECONDS + RESET_MARGIN_SECONDS),
        (CONCURRENT, None, 0.25),
        (MAINTENANCE, None, 0.25),
        (MAINTENANCE, 7.0, 7.0 + RESET_MARGIN_SECONDS),
    ],
)
def test_how_long_a_hold_lasts(
    story: Story, response: ResponseClass, retry_after: float | None, seconds: float
) -> None:
    [change] = story.answer(response, 10.0, sent_at=9.0, retry_after=retry_after)
    assert response.hold is not None
    assert change.action is HoldAction.BEGUN
    assert change.reason == response.hold.reason
    assert change.until == story.until(change.key) == pytest.approx(10.0 + seconds)


def test_where_the_server_names_no_time_none_is_invented(story: Story) -> None:
    assert story.answer(MINUTE, 10.0, sent_at=9.0) == []
    assert not story.holds.active


@given(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 60))
def test_a_backoff_doubles_up_to_its_longest_and_half_of_it_is_jitter(random: float, failures: int) -> None:
    story, now = Story(), 0.0
    story.answer(MAINTENANCE, now, sent_at=-1.0, random=random)
    for _ in range(failures):
        now = story.until(API)
        permit = story.send(now)
        assert permit is not None
        story.answer(MAINTENANCE, now + 0.1, sent_at=now, permit=permit, random=random)
        now += 0.1
    longest = min(TIMES.backoff * 2.0**failures, TIMES.backoff_max)
    lasts = story.until(API) - now
    assert lasts == pytest.approx(longest * (0.5 + random / 2))


# ---- The breaker


def test_repeated_failures_without_a_success_between_hold_the_api(story: Story) -> None:
    assert BREAKER_FAILURES == 5
    for _ in range(BREAKER_FAILURES - 1):
        assert story.answer(BROKEN, 0.0, sent_at=-1.0) == []
    story.answer(OK, 0.0, sent_at=-1.0, keys=keys_of("other", "t9", "accounting"))
    for _ in range(BREAKER_FAILURES - 1):
        assert story.answer(BROKEN, 0.0, sent_at=-1.0) == []
        story.answer(SAYS_NOTHING, 0.0, sent_at=-1.0)
        story.answer(OK, 0.0, sent_at=-1.0, keys=keys_of("app", "t1", "files"))
    [change] = story.answer(BROKEN, 0.0, sent_at=-1.0, keys=keys_of("other", None, "accounting"))
    assert change == HoldChange(HoldAction.BEGUN, API, FAILING, 0.25)


def test_failures_during_a_hold_do_not_count_towards_the_next(story: Story) -> None:
    for _ in range(3 * BREAKER_FAILURES):
        story.answer(BROKEN, 0.0, sent_at=-1.0)
    assert story.until(API) == 0.25
    probe = story.send(0.25)
    assert probe is not None
    assert story.send(0.26) is None
    story.answer(OK, 0.3, sent_at=0.25, permit=probe)
    for _ in range(BREAKER_FAILURES - 1):
        assert story.answer(BROKEN, 1.0, sent_at=0.5) == []
    assert not story.holds.active


# ---- Operators


def test_an_operator_can_end_a_hold(story: Story) -> None:
    assert story.holds.clear(API) is None
    for _ in range(BREAKER_FAILURES):
        story.answer(BROKEN, 0.0, sent_at=-1.0)
    assert story.holds.clear(API) == HoldChange(HoldAction.CLEARED, API, FAILING, 0.25)
    assert story.send(0.1) is not None
    for _ in range(BREAKER_FAILURES - 1):
        assert story.answer(BROKEN, 1.0, sent_at=0.5) == []
    story.answer(MAINTENANCE, 2.0, sent_at=1.5)
    story.holds.clear(API)
    assert story.answer(BROKEN, 3.0, sent_at=2.5) == [], "what came before is forgiven"


def test_a_cleared_hold_that_begins_again_does_not_listen_to_the_old_probe(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    probe = story.send(300.0)
    assert probe is not None
    story.holds.clear(TENANT)
    story.answer(OFFLINE, 301.0, sent_at=300.5)
    assert story.answer(OK, 302.0, sent_at=300.0, permit=probe) == []
    assert story.send(303.0) is None


def test_what_nobody_asks_about_is_forgotten_at_its_end_or_a_day_after_it_waits_for_a_probe(
    story: Story,
) -> None:
    story.answer(CONCURRENT, 0.0, sent_at=-1.0)
    story.answer(MAINTENANCE, 0.0, sent_at=-1.0, retry_after=30.0)
    for now, left in ((0.25, 2), (0.3, 1), (86_430.3, 1), (86_430.5, 0)):
        story.holds.forget(now)
        assert len(story.holds.active) == left


def test_operators_see_what_is_held_for_how_long_and_whether_a_probe_is_out(story: Story) -> None:
    story.answer(OFFLINE, 0.0, sent_at=-1.0)
    story.answer(APP_MINUTE, 0.0, sent_at=-1.0, retry_after=9.6)
    assert set(story.holds.view(4.0)) == {
        HoldView(TENANT, "offline", 296.0, False),
        HoldView(APP, "appminute", 6.0, False),
    }
    story.holds.clear(APP)
    story.send(300.0)
    assert story.holds.view(301.0) == (HoldView(TENANT, "offline", 0.0, True),)
