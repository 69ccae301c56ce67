"""What a restart remembers, and what happens while the disk does not work."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from proxy.core.answers.idempotency import KEY_LIFE_SECONDS
from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Limits
from proxy.core.limits.holds import RESTORED_SECONDS
from proxy.core.model import HoldKey, Limit, Remaining, Scope
from proxy.stores import sqlite
from proxy.stores.sqlite import AGAIN_SECONDS, GATHER_SECONDS, SLOW_SECONDS
from tests.stores.contract import ASK
from tests.stores.hand_clock import HandClock
from tests.stores.stands import SqliteStand
from tests.strict_xero import OFFLINE, OK

CAPS = Caps(minute=5, day=20, app_minute=8)
ASKS = [ASK, Ask("app", "other", "payroll"), Ask("app", None, "identity")]
SPAN = 60.1
HELD = HoldKey(Scope.TENANT, app="app", tenant="tenant")


async def begun(path: Path, caps: Caps = CAPS, *, wall: float = 1.7e9, now: float = 1000.0) -> SqliteStand:
    """A process over the file in `path`, whose clocks show `now` and `wall`."""
    stand = SqliteStand(caps, path, clock=HandClock(now, wall))
    await stand.start()
    return stand


async def after(stand: SqliteStand, seconds: float, caps: Caps = CAPS, *, set_by: float = 0.0) -> SqliteStand:
    """The process that follows `seconds` after this one was killed; its wall clock was set meanwhile."""
    await stand.killed()
    await stand.close()
    wall = stand.clock.walled + seconds + set_by
    return await begun(stand.path.parent, caps, wall=wall, now=5.0)


def limits(stand: SqliteStand) -> Limits:
    return stand.sqlite._limits


async def test_calls_are_charged_across_a_restart(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    for left in (13, 12, 11):
        await stand.answered(await stand.permit(), OK, Remaining(day=left))
        await stand.pass_seconds(0.1)
    await stand.answered(await stand.permit(ASKS[2]))
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 10.0)
    (tenants, (app,), _) = stand.store.view()
    assert [(view.minute_remaining, view.day_remaining) for view in tenants] == [(2, 11)]
    assert app.minute_remaining == 4
    await stand.permit()
    await stand.permit()
    denial = await stand.denial()
    assert denial.limit == Limit.MINUTE
    assert denial.until == pytest.approx(stand.now + SPAN - 10.0 - 0.8, abs=1.0)
    await stand.close()


async def test_a_call_that_was_in_flight_counts_from_the_restart_and_only_once(tmp_path: Path) -> None:
    stand = await begun(tmp_path, Caps(minute=1))
    await stand.permit()
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 30.0, Caps(minute=1))
    assert (await stand.denial()).until == pytest.approx(stand.now + SPAN, abs=0.1)
    stand = await after(stand, 30.0, Caps(minute=1))
    assert (await stand.denial()).until == pytest.approx(stand.now + SPAN - 30.0, abs=1.0)
    await stand.close()


async def test_a_process_that_ends_well_has_written_everything(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    await stand.answered(await stand.permit())
    await stand.close()
    assert not stand.path.with_name("state.db-wal").exists()
    stand = await begun(tmp_path)
    assert limits(stand).accounts.record("app", "tenant", stand.now) is not None
    (line,) = stand.lines("store_restored")
    assert (line["budgets"], line["holds"], line["keys"]) == (2, 0, 0)
    await stand.close()


async def test_a_hold_is_kept_for_a_minute_at_most_and_no_restart_begins_it_anew(
    tmp_path: Path,
) -> None:
    stand = await begun(tmp_path)
    await stand.answered(await stand.permit(), OFFLINE)
    await stand.pass_seconds(GATHER_SECONDS)
    for _ in range(10):
        stand = await after(stand, 5.0)
        assert (await stand.denial()).hold == HELD
    await stand.pass_seconds(RESTORED_SECONDS - 9 * 5.0)
    probe = await stand.permit()
    assert probe.probes == (HELD,)
    await stand.answered(probe)
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 1.0)
    assert not limits(stand).holds.active
    await stand.close()


async def test_a_cleared_hold_stays_cleared(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    await stand.answered(await stand.permit(), OFFLINE)
    await stand.pass_seconds(GATHER_SECONDS)
    await stand.store.clear(HELD)
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 1.0)
    assert not limits(stand).holds.active
    await stand.close()


async def test_the_life_of_a_key_goes_on(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    began = stand.now
    stand.keys.first_used("app", b"c4n4ry", began)
    await stand.permit()
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 100.0)
    used = stand.keys.first_used("app", b"c4n4ry", stand.now)
    assert stand.now - used == pytest.approx(100.0 + GATHER_SECONDS)
    assert b"c4n4ry" not in stand.path.read_bytes() + stand.path.with_name("state.db-wal").read_bytes()
    await stand.close()


async def test_a_wall_clock_that_was_set_back_frees_nothing_and_holds_up_nobody_for_long(
    tmp_path: Path,
) -> None:
    stand = await begun(tmp_path, Caps(minute=1))
    stand.keys.first_used("app", b"key", stand.now)
    await stand.answered(await stand.permit())
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 10.0, Caps(minute=1), set_by=-86_400.0)
    assert (await stand.denial()).until == pytest.approx(stand.now + SPAN, abs=1.0)
    assert stand.now - stand.keys.first_used("app", b"key", stand.now) >= KEY_LIFE_SECONDS
    await stand.close()


async def test_a_wall_clock_that_was_set_on_by_years_is_a_long_absence_and_heals(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    await stand.answered(await stand.permit(), OFFLINE)
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 10.0, set_by=1e9)
    assert (await stand.permit()).probes == (HELD,)
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 10.0, set_by=-1e9)
    await stand.permit()
    (view,) = stand.store.view()[0]
    assert view.minute_remaining == CAPS.minute - 2
    await stand.close()


async def test_the_disk_is_left_alone_while_nothing_happens(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    assert stand.clock.waiting == 0
    for _ in range(3):
        await stand.answered(await stand.permit())
    assert stand.clock.waiting == 1
    await stand.pass_seconds(GATHER_SECONDS)
    assert stand.clock.waiting == 0
    assert stand.count("store_operations_total", operation="write", outcome="ok") == 2
    await stand.close()


async def test_a_full_disk_stops_nobody_and_is_caught_up_with(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    database = stand.sqlite._file._db
    assert database is not None
    worker = stand.sqlite._worker
    assert worker is not None
    await worker.run(lambda: database.execute("PRAGMA max_page_count = 1").fetchall())
    names = [f"tenant-{number}" for number in range(200)]
    for name in names:
        await stand.permit(Ask(name, name, "accounting"))
    for _ in range(3):
        await stand.pass_seconds(AGAIN_SECONDS)
    health = stand.store.health()
    assert (health.up, health.trouble) == (False, "full")
    assert stand.count("store_errors_total", reason="full") == 3
    await worker.run(lambda: database.execute("PRAGMA max_page_count = 100000").fetchall())
    await stand.pass_seconds(AGAIN_SECONDS)
    assert stand.store.health().up
    assert [line["reason"] for line in stand.lines("store_away")] == ["full"]
    stand = await after(stand, 1.0)
    assert [limits(stand).accounts.record(name, name, stand.now) is None for name in names] == [False] * 200
    await stand.close()


async def test_a_disk_that_hangs_keeps_nobody_waiting_not_even_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CLOSE_SECONDS", 0.05)
    stand = await begun(tmp_path)
    hung = threading.Event()
    monkeypatch.setattr(stand.sqlite._file, "write", lambda *_, **__: hung.wait())
    await stand.permit()
    stand.clock.pass_seconds(GATHER_SECONDS)
    await asyncio.wait([asyncio.ensure_future(stand.permit())])
    stand.clock.pass_seconds(SLOW_SECONDS)
    assert stand.store.health().trouble == "slow"
    await stand.store.close()
    hung.set()
    assert [line["reason"] for line in stand.lines("store_away")] == ["slow"]
    await stand.close()


async def test_a_slow_disk_is_said_to_be_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = await begun(tmp_path)
    write, hung = stand.sqlite._file.write, threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(stand.sqlite._file, "write", lambda rows, **all_: hung.wait() and write(rows, **all_))
        await stand.permit()
        stand.clock.pass_seconds(GATHER_SECONDS)
        for _ in range(3):  # the write begins when the loop turns
            await asyncio.wait([asyncio.ensure_future(stand.permit(ASKS[1]))])
        stand.clock.pass_seconds(SLOW_SECONDS)
        hung.set()
        await stand.written()
    assert stand.store.health().up
    (line,) = stand.lines("store_back")
    assert line["seconds"] == 0.0
    await stand.close()


async def test_what_is_done_before_the_start_or_after_the_end_is_of_memory_alone(tmp_path: Path) -> None:
    stand = SqliteStand(CAPS, tmp_path)
    await stand.store.close()
    await stand.permit()
    assert stand.clock.waiting == 0
    await stand.start()
    await stand.close()
    await stand.permit()
    assert stand.clock.waiting == 0


@pytest.mark.parametrize("error", [ZeroDivisionError, sqlite3.ProgrammingError])
async def test_an_error_that_is_none_of_the_disks_is_told_and_outlasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    stand = await begun(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stand.sqlite._file, "write", fail)
        await stand.permit()
        await stand.pass_seconds(AGAIN_SECONDS)
        assert stand.store.health().trouble == "other"
    await stand.pass_seconds(AGAIN_SECONDS)
    assert stand.store.health().up
    stand = await after(stand, 1.0)
    assert limits(stand).accounts.tenants["app", "tenant"].minute.occupied(stand.now) == 1
    await stand.close()


async def test_very_many_changes_are_written_in_turns_and_all_of_them_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MOST", 3)
    names = [f"tenant-{number}" for number in range(10)]
    stand = await begun(tmp_path)
    for name in names:
        await stand.permit(Ask(name, name, "accounting"))
    await stand.pass_seconds(GATHER_SECONDS)
    assert len(stand.sqlite._charged) == 7
    await stand.pass_seconds(GATHER_SECONDS)
    assert len(stand.sqlite._charged) == 4
    await stand.close()
    stand = await begun(tmp_path)
    assert [limits(stand).accounts.record(name, name, stand.now) is None for name in names] == [False] * 10
    assert len(stand.sqlite._charged) == 10 + 10 - 3, "organisations and apps with calls in flight"
    await stand.close()


async def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    second = SqliteStand(CAPS, tmp_path)
    with pytest.raises(OSError, match="another process has the state file"):
        await second.start()
    await second.close()
    await stand.close()
