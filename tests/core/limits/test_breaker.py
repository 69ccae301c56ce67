"""Whose repeated failures hold whom."""

from __future__ import annotations

import pytest

from proxy.core.limits.breaker import BREAKER_FAILURES, CALLED_SECONDS, COUNTED_MOST, Breaker
from proxy.core.limits.holds import (
    FAILING,
    HoldAction,
    HoldChange,
)
from proxy.core.model import HoldKey, Scope, keys_of
from tests.core.holding import (
    API,
    BROKEN,
    OK,
    OWN,
    SAYS_NOTHING,
    Story,
)


@pytest.fixture
def story() -> Story:
    return Story()


def of(tenant: str | None, api: str = "accounting") -> tuple[HoldKey, ...]:
    return keys_of("app", tenant, api)


def test_repeated_failures_of_one_organisation_hold_its_own_use_of_that_api(story: Story) -> None:
    assert BREAKER_FAILURES == 5
    for _ in range(BREAKER_FAILURES - 1):
        assert story.answer(BROKEN, 0.0, sent_at=-1.0) == []
        story.answer(SAYS_NOTHING, 0.0, sent_at=-1.0)
        story.answer(OK, 0.0, sent_at=-1.0, keys=of("t1", "files"))
        story.answer(OK, 0.0, sent_at=-1.0, keys=of("t2"))
    [change] = story.answer(BROKEN, 0.0, sent_at=-1.0)
    assert change == HoldChange(HoldAction.BEGUN, OWN, FAILING, 0.25)
    assert story.send(0.1) is None
    assert story.send(0.1, of("t1", "files")) is not None
    assert story.send(0.1, of("t2")) is not None


def test_however_long_one_organisation_fails_nobody_else_is_held(story: Story) -> None:
    for second in range(500):
        changes = story.answer(BROKEN, float(second), sent_at=second - 0.1, permit=story.send(second) or 0)
        assert {change.key for change in changes} <= {OWN}
        assert story.send(float(second), of("t2")) is not None


def test_a_good_answer_lets_an_organisation_begin_anew(story: Story) -> None:
    for _ in range(3):
        for _ in range(BREAKER_FAILURES - 1):
            assert story.answer(BROKEN, 0.0, sent_at=-1.0) == []
        story.answer(OK, 0.0, sent_at=-1.0)


def test_retries_of_one_request_count_once(story: Story) -> None:
    for _ in range(BREAKER_FAILURES - 1):
        story.answer(BROKEN, 0.0, sent_at=-1.0)
    for _ in range(20):
        assert story.answer(BROKEN, 0.0, sent_at=-1.0, again=True) == []
    [change] = story.answer(BROKEN, 0.0, sent_at=-1.0)
    assert change.key == OWN


def test_failures_of_three_organisations_with_no_success_between_hold_the_api(story: Story) -> None:
    story.answer(OK, 0.0, sent_at=-1.0, keys=of("t9"))
    for tenant in ("t1", "t2", "t2", "t3"):
        assert story.answer(BROKEN, 0.0, sent_at=-1.0, keys=of(tenant)) == []
    [change] = story.answer(BROKEN, 0.0, sent_at=-1.0, keys=of(None))
    assert change == HoldChange(HoldAction.BEGUN, API, FAILING, 0.25)
    assert story.send(0.1, of("t9")) is None


def test_a_success_of_anybody_between_shows_that_the_api_works(story: Story) -> None:
    for tenant in ("t1", "t2", "t3", "t4"):
        for _ in range(BREAKER_FAILURES - 1):
            story.answer(BROKEN, 0.0, sent_at=-1.0, keys=of(tenant))
            story.answer(OK, 0.0, sent_at=-1.0, keys=of("t9"))
    assert not story.holds.active


@pytest.mark.parametrize(("seconds", "held"), [(CALLED_SECONDS - 1, False), (CALLED_SECONDS, True)])
def test_two_organisations_that_fail_hold_the_api_where_nobody_else_called_for_a_minute(
    story: Story, seconds: float, held: bool
) -> None:
    story.answer(SAYS_NOTHING, 0.0, sent_at=-1.0, keys=of("t9"))
    changes = [
        story.answer(BROKEN, seconds, sent_at=seconds - 1.0, keys=of(tenant))
        for tenant in ("t1", "t2", "t1", "t2", "t1")
    ]
    assert [change.key for change in changes[-1]] == ([API] if held else [])


def test_what_one_organisation_fails_too_often_does_not_make_a_single_failure_of_another_the_apis(
    story: Story,
) -> None:
    for _ in range(2):
        for _ in range(BREAKER_FAILURES):
            story.answer(BROKEN, 0.0, sent_at=-1.0)
        story.holds.clear(OWN)
    assert story.answer(BROKEN, 0.0, sent_at=-1.0, keys=of("t2")) == []


def test_an_organisation_that_has_not_called_for_a_minute_does_not_fail_for_the_other(story: Story) -> None:
    for _ in range(3):
        story.answer(BROKEN, 0.0, sent_at=-1.0)
    for _ in range(2):
        assert story.answer(BROKEN, 60.0, sent_at=59.0, keys=of("t2")) == []


def test_failures_during_a_hold_do_not_count_towards_the_next(story: Story) -> None:
    for _ in range(3 * BREAKER_FAILURES):
        story.answer(BROKEN, 0.0, sent_at=-1.0)
    assert story.until(OWN) == 0.25
    probe = story.send(0.25)
    assert probe is not None
    assert story.send(0.26) is None
    story.answer(OK, 0.3, sent_at=0.25, permit=probe)
    for _ in range(BREAKER_FAILURES - 1):
        assert story.answer(BROKEN, 1.0, sent_at=0.5) == []
    assert not story.holds.active


def test_counts_of_very_many_organisations_begin_anew() -> None:
    breaker = Breaker()
    for number in range(COUNTED_MOST + 1):
        assert not breaker.failed(HoldKey(Scope.TENANT_API, app="app", tenant=f"t{number}", api="files"))
    first, last = (f"t{number}" for number in (0, COUNTED_MOST))
    for _ in range(BREAKER_FAILURES - 2):
        for tenant in (first, last):
            assert not breaker.failed(HoldKey(Scope.TENANT_API, app="app", tenant=tenant, api="files"))
    assert breaker.failed(HoldKey(Scope.TENANT_API, app="app", tenant=last, api="files"))
    assert not breaker.failed(HoldKey(Scope.TENANT_API, app="app", tenant=first, api="files"))
