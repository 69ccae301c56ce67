from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.breaker import BREAKER_FAILURES
from proxy.core.limits.holds import (
    FAILING,
    LONGEST_HOLD_SECONDS,
    RESET_MARGIN_SECONDS,
    HoldAction,
    HoldChange,
)
from proxy.core.model import HoldKey, HoldView, ResponseClass, Scope, keys_of
from tests.core.holding import (
    API,
    APP,
    APP_MINUTE,
    BROKEN,
    CONCURRENT,
    HOST,
    KEYS,
    MAINTENANCE,
    MINUTE,
    OFFLINE,
    OK,
    OWN,
    TENANT,
    TIMES,
    UNREACHABLE,
    Story,
)


@pytest.fixture
def story() -> Story:
    return Story()


# ---- Whom a hold stops


def test_a_request_is_stopped_by_its_tenant_its_use_of_the_api_its_app_its_api_and_the_host() -> None:
    assert KEYS == (TENANT, OWN, APP, API, HOST)
    of_nobody = HoldKey(Scope.TENANT_API, app="app", api="accounting")
    assert keys_of("app", None, "accounting") == (of_nobody, APP, API, HOST)


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


# ---- Where Xero's host cannot be reached


def test_whoever_cannot_reach_the_host_holds_it_for_all_and_whoever_can_ends_that(story: Story) -> None:
    files = keys_of("other", "t9", "files")
    [change] = story.answer(UNREACHABLE, 0.0, sent_at=-1.0)
    assert change == HoldChange(HoldAction.BEGUN, HOST, FAILING, 0.25)
    assert story.send(0.2, files) is None
    probe = story.send(0.25, files)
    assert probe is not None
    assert story.send(0.25) is None
    [change] = story.answer(UNREACHABLE, 0.5, sent_at=0.25, permit=probe, keys=files)
    assert change == HoldChange(HoldAction.EXTENDED, HOST, FAILING, 1.0)
    probe = story.send(1.0)
    assert probe is not None
    [change] = story.answer(BROKEN, 1.5, sent_at=1.0, permit=probe)
    assert change == HoldChange(HoldAction.ENDED, HOST, FAILING, 1.0)


# ---- Operators


def of(tenant: str | None, api: str = "accounting") -> tuple[HoldKey, ...]:
    return keys_of("app", tenant, api)


def test_an_operator_can_end_a_hold(story: Story) -> None:
    assert story.holds.clear(OWN) is None
    for _ in range(BREAKER_FAILURES):
        story.answer(BROKEN, 0.0, sent_at=-1.0)
    assert story.holds.clear(OWN) == HoldChange(HoldAction.CLEARED, OWN, FAILING, 0.25)
    assert story.send(0.1) is not None
    for tenant in ("t1", "t2", "t2", "t3"):
        assert story.answer(BROKEN, 1.0, sent_at=0.5, keys=of(tenant)) == []
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
    assert set(story.holds.each(4.0)) == {
        HoldView(TENANT, "offline", 296.0, False),
        HoldView(APP, "appminute", 6.0, False),
    }
    story.holds.clear(APP)
    story.send(300.0)
    assert tuple(story.holds.each(301.0)) == (HoldView(TENANT, "offline", 0.0, True),)
