"""What every store does, whatever it keeps its limits in. Real servers, so real time."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask
from proxy.core.limits.holds import SILENT_SECONDS, HoldAction, HoldTimes
from proxy.core.model import HoldKey, Limit, Remaining, Scope
from tests.stores.contract import ASK, Open, memory, redis, sqlite
from tests.strict_xero import GATEWAY, MAINTENANCE, OFFLINE, OK, REFUSED, TOO_MANY, UNREACHABLE

KEY = HoldKey(Scope.TENANT, app="app", tenant="tenant")
TIMES = HoldTimes()


@pytest.fixture(params=["memory", "sqlite", "valkey", "debians"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "memory":
        return memory
    if request.param == "sqlite":
        return partial(sqlite, tmp_path / "state.db")
    client = request.getfixturevalue(request.param)
    return partial(redis, f"redis://127.0.0.1:{client.get_connection_kwargs()['port']}/0")


async def test_a_minute_is_used_to_its_end_and_no_further(opened: Open) -> None:
    async with opened(Caps(minute=3), TIMES) as one:
        for _ in range(3):
            await one.settle(await one.permit())
        denial = await one.denial()
        assert denial.limit == Limit.MINUTE
        assert denial.until is not None
        assert denial.until - one.clock.now() == pytest.approx(60.0, abs=2.0)
        assert one.store.forecast(ASK, 0).limit == Limit.MINUTE


async def test_a_place_is_free_a_window_after_the_answer(opened: Open) -> None:
    async with opened(Caps(minute=1, minute_seconds=0.2), TIMES) as one:
        await one.settle(await one.permit())
        denial = await one.denial()
        assert denial.until is not None
        await one.clock.sleep_until(denial.until + 0.01)
        await one.permit()


async def test_so_many_at_once_and_another_when_one_has_ended(opened: Open) -> None:
    async with opened(Caps(concurrent=2), TIMES) as one:
        first, second = await one.permit(), await one.permit()
        assert second.following is not None
        assert (await one.denial()).limit == Limit.CONCURRENT
        await one.settle(first)
        await one.permit()


async def test_what_was_never_sent_costs_nothing(opened: Open) -> None:
    async with opened(Caps(minute=1, day=1, app_minute=1), TIMES) as one:
        for _ in range(3):
            assert not (await one.settle(await one.permit(), REFUSED, sent=False)).holds


async def test_a_day_ends_where_the_server_says_so(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        await one.settle(await one.permit(), OK, Remaining(minute=50, day=0))
        assert (await one.denial()).limit == Limit.DAY


async def test_an_app_has_a_minute_over_all_its_organisations(opened: Open) -> None:
    async with opened(Caps(app_minute=2), TIMES) as one:
        for tenant in ("one", "two"):
            await one.permit(Ask("app", tenant, "accounting"))
        assert (await one.denial(Ask("app", "three", "accounting"))).limit == Limit.APP_MINUTE
        assert (await one.denial(Ask("app", None, "identity"))).limit == Limit.APP_MINUTE
        await one.permit(Ask("another", "one", "accounting"))


async def test_calls_of_others_are_revealed(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        effects = await one.settle(await one.permit(), OK, Remaining(minute=39))
        assert effects.foreign == 20


async def test_an_organisation_that_is_offline_is_left_alone_until_an_operator_says_otherwise(
    opened: Open,
) -> None:
    async with opened(Caps(), TIMES) as one:
        (change,) = (await one.settle(await one.permit(), OFFLINE)).holds
        assert (change.action, change.key, change.reason) == (HoldAction.BEGUN, KEY, "offline")
        assert change.until == pytest.approx(one.clock.now() + 300.0, abs=1.0)
        denial = await one.denial()
        assert (denial.limit, denial.hold) == ("offline", KEY)
        assert [hold.key for hold in one.store.view()[2]] == [KEY]
        assert one.store.forecast(ASK, 0).at == pytest.approx(change.until, abs=1.0)
        cleared = await one.store.clear(KEY)
        assert cleared is not None
        assert cleared.action is HoldAction.CLEARED
        assert await one.store.clear(KEY) is None
        assert [*one.store.view()[2]] == []
        await one.permit()


async def test_an_operators_clear_lets_one_call_ask_whatever_is_believed_of_the_day(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        await one.settle(await one.permit(), remaining=Remaining(day=0))
        assert (await one.denial()).limit == "day"
        cleared = await one.store.clear(KEY)
        assert cleared is not None
        assert (cleared.action, cleared.reason) == (HoldAction.CLEARED, "day")
        assert one.store.forecast(ASK, 0).at <= one.clock.now()
        asking = await one.permit()
        assert (await one.denial()).limit == "day"
        await one.settle(asking, remaining=Remaining(day=400))
        await one.permit()
        assert await one.store.clear(KEY) is None


async def test_a_call_that_goes_well_and_says_nothing_of_the_day_ends_the_belief_that_it_is_spent(
    opened: Open,
) -> None:
    async with opened(Caps(), TIMES) as one:
        await one.settle(await one.permit(), remaining=Remaining(day=0))
        assert await one.store.clear(KEY) is not None
        await one.settle(await one.permit())
        await one.permit()


async def test_a_limit_of_the_day_that_xero_shows_is_the_limit(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        await one.settle(await one.permit(), remaining=Remaining(day=999))
        (shown,), _, _ = one.store.view()
        assert (shown.day_remaining, shown.day_limit) == (999, 1000)
        left = one.store.left(ASK)
        assert (left.day, left.day_limit) == (999, 1000)


async def test_one_request_alone_finds_out_whether_a_hold_is_over(opened: Open) -> None:
    async with opened(Caps(), HoldTimes(offline=0.05)) as one:
        (change,) = (await one.settle(await one.permit(), OFFLINE)).holds
        await one.clock.sleep_until(change.until + 0.01)
        probe = await one.permit()
        denial = await one.denial()
        assert (denial.limit, denial.hold) == ("offline", KEY)
        (ended,) = (await one.settle(probe)).holds
        assert (ended.action, ended.key) == (HoldAction.ENDED, KEY)
        await one.permit()


async def test_a_probe_that_was_never_sent_leaves_its_place_to_the_next(opened: Open) -> None:
    async with opened(Caps(), HoldTimes(offline=0.05)) as one:
        (change,) = (await one.settle(await one.permit(), OFFLINE)).holds
        await one.clock.sleep_until(change.until + 0.01)
        (unproven,) = (await one.settle(await one.permit(), REFUSED, sent=False)).holds
        assert unproven.action is HoldAction.INCONCLUSIVE
        await one.permit()


async def test_a_429_holds_for_as_long_as_it_says(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        (change,) = (await one.settle(await one.permit(), TOO_MANY[Limit.MINUTE], retry_after=7.0)).holds
        assert change.until == pytest.approx(one.clock.now() + 7.4, abs=1.0)


async def test_maintenance_holds_the_api_for_everybody(opened: Open) -> None:
    async with opened(Caps(), HoldTimes(backoff=10.0)) as one:
        (change,) = (await one.settle(await one.permit(), MAINTENANCE)).holds
        assert change.key == HoldKey(Scope.API, api="accounting")
        assert (await one.denial(Ask("another", "one", "accounting"))).hold == change.key
        await one.permit(Ask("app", "tenant", "projects"))


async def test_a_permit_is_settled_once(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        permit = await one.permit()
        await one.settle(permit)
        with pytest.raises(RuntimeError):
            await one.settle(permit)


async def test_operators_see_the_budgets(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        await one.permit()
        await one.settle(await one.permit())
        (tenant,), (app,), holds = one.store.view()
        assert (tenant.in_flight, tenant.minute_remaining, tenant.day_remaining) == (1, 58, 4998)
        assert (app.minute_remaining, [*holds]) == (9998, [])
        assert one.store.health().up


async def test_names_of_any_kind_stay_apart(opened: Open) -> None:
    names = ("a", "a:", ":a", "a{b}", "\x00", "é", "\udcff")
    async with opened(Caps(concurrent=1), TIMES) as one:
        for app in names:
            for tenant in names:
                await one.permit(Ask(app, tenant, "accounting"))
        assert (await one.denial(Ask("a", ":a", "accounting"))).limit == Limit.CONCURRENT


async def test_what_keeps_failing_is_held_for_its_organisation_alone(opened: Open) -> None:
    async with opened(Caps(), TIMES) as one:
        changes = [
            change for _ in range(5) for change in (await one.settle(await one.permit(), GATEWAY)).holds
        ]
        own = HoldKey(Scope.TENANT_API, app="app", tenant="tenant", api="accounting")
        assert [(change.reason, change.key) for change in changes] == [("failing", own)]
        assert (await one.denial()).hold == own
        await one.permit(Ask("app", "another", "accounting"))
        cleared = await one.store.clear(own)
        assert cleared is not None
        await one.permit()


async def test_what_an_answer_means_counts_before_its_place_is_free(opened: Open) -> None:
    async with opened(Caps(concurrent=1), HoldTimes(offline=0.05)) as one:
        permit = await one.permit()
        (change,) = (await one.settle(permit, OFFLINE, ended=False)).holds
        assert (change.action, change.key) == (HoldAction.BEGUN, KEY)
        await one.clock.sleep_until(change.until + 0.01)
        assert (await one.denial()).limit == Limit.CONCURRENT
        one.store.release(permit)
        await one.permit()


async def test_a_probe_that_nobody_wants_keeps_nobody(opened: Open) -> None:
    async with opened(Caps(), HoldTimes(offline=0.05)) as one:
        (change,) = (await one.settle(await one.permit(), OFFLINE)).holds
        await one.clock.sleep_until(change.until + 0.01)
        probe = await one.permit()
        denial = await one.denial()
        assert denial.until == pytest.approx(one.clock.now() + SILENT_SECONDS, abs=1.0)
        (let_go,) = one.store.let_go(probe)
        assert (let_go.action, let_go.key) == (HoldAction.INCONCLUSIVE, KEY)
        await one.permit()


async def test_who_cannot_reach_the_host_holds_it_for_everybody(opened: Open) -> None:
    async with opened(Caps(), HoldTimes(backoff=10.0)) as one:
        (change,) = (await one.settle(await one.permit(), UNREACHABLE, sent=False)).holds
        assert change.key == HoldKey(Scope.HOST)
        assert (await one.denial(Ask("another", "one", "files"))).hold == change.key
        cleared = await one.store.clear(change.key)
        assert cleared is not None
        await one.permit()
