"""Files that cannot be used, and what is made of them."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from config.settings import BadSettings
from proxy.core.answers.idempotency import KEY_LIFE_SECONDS, KEYS_KEPT
from proxy.core.limits.accounts import TENANTS_KEPT, Record
from proxy.core.limits.day import BUCKET_SECONDS, DAY_SECONDS, DayRecord
from proxy.core.limits.holds import Hold
from proxy.core.limits.window import WindowRecord
from proxy.core.model import HoldKey, Limit, Scope
from proxy.stores.state_file import VERSION, Lost, StateFile, reason_of
from proxy.stores.state_rows import Rows
from tests.stores.stands import SqliteStand
from tests.stores.test_sqlite import CAPS, SPAN, begun

RECORD = (WindowRecord(1, ((2, 3), (0, 1)), ((1, 1),)), DayRecord(((100, 4), (0, 1)), -3, 0))
APPS = (WindowRecord(0, ((0, 5),)), None)
ALL = Rows(
    500.0,
    1.7e9,
    [("app", "", 499.0, APPS), ("app", "tenant", 500.0, RECORD)],
    [(HoldKey(Scope.API, api="accounting"), Hold("maintenance", 0.0, 510.0, probe=True, failures=2))],
    keys=[(b"\0" * 16, 400.0, 450.0)],
)
Spent = list[tuple[str, str, float, Record]]
TENANT_HOLD = HoldKey(Scope.TENANT, app="app", tenant="tenant")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def written(path: Path, *rows: Rows) -> None:
    file = StateFile(path)
    file.open(0.0)
    for each in rows:
        file.write(each, pruning=False)
    file.close()


def read(path: Path) -> Rows | Lost | None:
    file = StateFile(path)
    try:
        return file.open(0.0)
    finally:
        file.close()


def altered(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def test_a_new_file_is_empty_and_for_the_owner_only(path: Path) -> None:
    file = StateFile(path)
    assert file.open(0.0) is None
    file.write(ALL, pruning=True)
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    file.close()
    assert [each.name for each in path.parent.iterdir()] == ["state.db"]


def test_everything_is_read_as_it_was_written(path: Path) -> None:
    written(path, ALL)
    assert read(path) == ALL


def test_a_hold_that_ended_is_gone_and_what_is_written_again_replaces_what_was_there(path: Path) -> None:
    later = Rows(600.0, 1.7e9, [("app", "", 600.0, APPS)], ended=[ALL.holds[0][0]])
    written(path, ALL, later)
    found = read(path)
    assert isinstance(found, Rows)
    assert [(app, tenant, at) for app, tenant, at, _ in found.spent] == [
        ("app", "tenant", 500.0),
        ("app", "", 600.0),
    ]
    assert (found.at, found.holds) == (600.0, [])


def test_a_write_that_fails_changes_nothing(path: Path) -> None:
    file = StateFile(path)
    file.open(0.0)
    file.write(ALL, pruning=False)
    broken = Rows(700.0, 0.0, [("new", "", 700.0, APPS)], keys=[(b"", None, 0.0)])  # type: ignore[list-item]  # that is what fails
    with pytest.raises(sqlite3.IntegrityError):
        file.write(broken, pruning=True)
    file.write(Rows(500.0, 1.7e9), pruning=False)
    file.close()
    assert read(path) == ALL
    with pytest.raises(sqlite3.Error):
        file.write(ALL, pruning=False)


def test_what_no_longer_matters_is_removed(path: Path) -> None:
    now = 1e6
    old = Rows(
        now,
        1.7e9,
        [("app", "old", now - DAY_SECONDS - BUCKET_SECONDS - 1, RECORD), ("app", "new", now, RECORD)],
        [
            (TENANT_HOLD, Hold("concurrent", 0.0, now - 1, probe=False)),
            (HoldKey(Scope.API, api="a"), Hold("old", 0.0, now - DAY_SECONDS - 1, probe=True)),
            (HoldKey(Scope.API, api="b"), Hold("due", 0.0, now - 1, probe=True)),
        ],
        keys=[(b"old", 0.0, now - 2 * KEY_LIFE_SECONDS - 1), (b"new", 0.0, now)],
    )
    file = StateFile(path)
    file.open(0.0)
    file.write(old, pruning=True)
    file.close()
    found = read(path)
    assert isinstance(found, Rows)
    assert [tenant for _, tenant, _, _ in found.spent] == ["new"]
    assert [hold.reason for _, hold in found.holds] == ["due"]
    assert [digest for digest, _, _ in found.keys] == [b"new"]


def test_ever_new_organisations_and_keys_do_not_make_the_file_grow_for_ever(path: Path) -> None:
    file = StateFile(path)
    file.open(0.0)
    sizes = []
    for wave in range(3):
        at = 1000.0 + wave
        spent: Spent = [
            ("app", f"{wave}-{number}", at + number / 1e6, RECORD) for number in range(TENANTS_KEPT)
        ]
        keys = [(b"%d-%d" % (wave, number), at, at + number / 1e6) for number in range(KEYS_KEPT // 2)]
        file.write(Rows(at, 1.7e9, spent, keys=keys), pruning=True)
        sizes.append(sum(each.stat().st_size for each in path.parent.iterdir()))
    file.close()
    found = read(path)
    assert isinstance(found, Rows)
    assert len(found.spent) == TENANTS_KEPT
    assert {tenant.partition("-")[0] for _, tenant, _, _ in found.spent} == {"2"}
    assert len(found.keys) == KEYS_KEPT
    assert sizes[2] < 3 * sizes[0]
    assert path.stat().st_size < 32 * 1024 * 1024


def test_a_file_that_another_process_has_is_left_to_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.state_file.LOCK_SECONDS", 0.05)
    first = StateFile(path)
    first.open(0.0)
    with pytest.raises(OSError, match=r"another process has the state file: '.*state\.db'"):
        read(path)
    first.write(ALL, pruning=False)
    first.close()
    assert read(path) == ALL


def test_a_file_of_a_later_release_is_refused_and_untouched(path: Path) -> None:
    written(path, ALL)
    altered(path, f"PRAGMA user_version = {VERSION + 1}", "CREATE TABLE news (x)")
    before = path.read_bytes()
    with pytest.raises(BadSettings, match=r"XERO_PROXY_STATE_FILE names .* by a later release: version 2"):
        read(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_another_program_is_refused_and_untouched(path: Path, mode: str) -> None:
    altered(path, f"PRAGMA journal_mode = {mode}", "CREATE TABLE books (title)")
    before = path.read_bytes()
    with pytest.raises(BadSettings, match=r"XERO_PROXY_STATE_FILE names .* a database of another program"):
        read(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["/proc/state.db", "/nowhere/at/all/state.db"])
def test_a_file_that_cannot_be_made_is_the_settings_fault(name: str) -> None:
    with pytest.raises(BadSettings, match=f"XERO_PROXY_STATE_FILE names {name}, which cannot be used: "):
        read(Path(name))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("SQLITE_IOERR_WRITE", "io"),
        ("SQLITE_CANTOPEN", "unusable"),
        ("SQLITE_MISUSE", "other"),
        ("", "other"),
    ],
)
def test_every_error_has_a_reason(code: str, reason: str) -> None:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorname = code
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("code", "kind"), [("SQLITE_FULL", OSError), ("SQLITE_IOERR", OSError), ("SQLITE_READONLY", BadSettings)]
)
def test_a_disk_that_fails_at_the_start_is_not_taken_for_a_damaged_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[Exception]
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = code

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("proxy.stores.state_file.read", fails)
    with pytest.raises(kind, match="disk I/O error"):
        read(path)
    assert [each.name for each in path.parent.iterdir()] == ["state.db"]


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def torn(path: Path) -> None:
    written(path, Rows(500.0, 1.7e9, [("app", f"t{n}", 1.0, RECORD) for n in range(500)]))
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 6 * 4096] = os.urandom(4096)
    path.write_bytes(content)


def cut(path: Path) -> None:
    written(path, Rows(500.0, 1.7e9, [("app", f"t{n}", 1.0, RECORD) for n in range(500)]))
    os.truncate(path, path.stat().st_size // 2)


def other(*statements: str) -> Callable[[Path], None]:
    def alter(path: Path) -> None:
        written(path, ALL)
        altered(path, *statements)

    return alter


def size(path: Path) -> int:
    return path.stat().st_size


DAMAGE = {
    "garbage": garbage,
    "a torn page": torn,
    "cut": cut,
    "a table is missing": other("DROP TABLE keys"),
    "another table": other("DROP TABLE holds", "CREATE TABLE holds (x)", "INSERT INTO holds VALUES (1)"),
    "an earlier version": other("PRAGMA user_version = 0"),
    "no JSON": other("UPDATE spent SET minute = x'ff'"),
    "JSON of another shape": other("UPDATE spent SET minute = '[1,[[2]],[]]'"),
    "a huge count": other("UPDATE spent SET minute = '[1,[[0,99999999999]],[]]'"),
    "huge counts": other("UPDATE spent SET minute = '[1,[[0,9999999],[0,9999999]],[]]'"),
    "a negative count": other("UPDATE spent SET minute = '[-1,[],[]]'"),
    "a day that is no number": other("""UPDATE spent SET day = '[[],"x",null]' WHERE day IS NOT NULL"""),
    "no time": other("UPDATE spent SET at = 'noon'"),
    "an endless time": other("UPDATE clock SET wall = 9e999"),
    "no name": other("UPDATE spent SET app = 5"),
    "no scope": other("UPDATE holds SET scope = 'everybody'"),
    "no digest": other("UPDATE keys SET digest = 'x'"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_a_damaged_file_is_moved_aside_and_a_minute_passes_from_its_last_write(
    path: Path, damage: Callable[[Path], None]
) -> None:
    damage(path)
    before = size(path)
    os.utime(path, (1.7e9, 1.7e9))
    stand = await begun(path.parent, CAPS, wall=1.7e9 + 20.0)
    denial = await stand.denial()
    assert denial.limit == Limit.MINUTE
    assert denial.until == pytest.approx(stand.now + SPAN - 20.0 + 1.0, abs=0.2)
    await stand.pass_seconds(SPAN)
    await stand.permit()
    aside = path.with_name("state.db.damaged-1700000020")
    (line,) = stand.lines("store_damaged")
    assert (line["moved_to"], line["seconds"]) == (str(aside), 20.0)
    assert size(aside) == before
    await stand.close()
    assert isinstance(read(path), Rows)


async def test_a_file_that_was_damaged_long_ago_keeps_nobody_waiting(path: Path) -> None:
    garbage(path)
    os.utime(path, (1.6e9, 1.6e9))
    stand: SqliteStand = await begun(path.parent, CAPS)
    await stand.permit()
    await stand.close()
