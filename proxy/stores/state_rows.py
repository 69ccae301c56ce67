"""The tables of the state file: what is in them, how it is written, and what is read back at the start.

Times are seconds of the file's own clock, which never goes back (`proxy.stores.state_file`). Nothing that is
read is believed: a byte that is wrong is damage like a page that is torn.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import orjson

from proxy.core.answers.idempotency import KEY_LIFE_SECONDS, KEYS_KEPT
from proxy.core.limits.accounts import TENANTS_KEPT, Record
from proxy.core.limits.day import BUCKET_SECONDS, DAY_SECONDS, DayRecord
from proxy.core.limits.holds import Hold
from proxy.core.limits.window import WindowRecord
from proxy.core.model import HoldKey, Scope

COUNT_MOST = 10_000_000
"""No limit can be set higher."""

SCHEMA = """
    CREATE TABLE clock (only INTEGER PRIMARY KEY CHECK (only = 1), at REAL NOT NULL, wall REAL NOT NULL);
    CREATE TABLE spent (
        app BLOB NOT NULL, tenant BLOB NOT NULL, at REAL NOT NULL, minute BLOB NOT NULL, day BLOB,
        PRIMARY KEY (app, tenant)
    ) WITHOUT ROWID;
    CREATE INDEX spent_at ON spent (at);
    CREATE TABLE holds (
        scope TEXT NOT NULL, app BLOB NOT NULL, tenant BLOB NOT NULL, api TEXT NOT NULL, reason TEXT NOT NULL,
        until REAL NOT NULL, probe INTEGER NOT NULL, failures INTEGER NOT NULL,
        PRIMARY KEY (scope, app, tenant, api)
    ) WITHOUT ROWID;
    CREATE TABLE keys (digest BLOB PRIMARY KEY, first REAL NOT NULL, last REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX keys_last ON keys (last);
"""
"""`spent` is what an organisation, or with an empty one the app itself, was charged with at `at`: the records
of its minute and its day as JSON arrays. Names are bytes, as not all of them are Unicode. `clock` has the
moment of the last write, and what the machine's clock showed then.
"""

PRUNE = (
    ("DELETE FROM spent WHERE at < ?", DAY_SECONDS + BUCKET_SECONDS),
    ("DELETE FROM holds WHERE until < ?", DAY_SECONDS),
    ("DELETE FROM holds WHERE NOT probe AND until < ?", 0.0),
    ("DELETE FROM keys WHERE last < ?", 2 * KEY_LIFE_SECONDS),
)
"""What no longer matters, by its age."""

BOUND = (
    ("DELETE FROM spent WHERE at <= (SELECT at FROM spent ORDER BY at DESC LIMIT 1 OFFSET ?)", TENANTS_KEPT),
    ("DELETE FROM keys WHERE last <= (SELECT last FROM keys ORDER BY last DESC LIMIT 1 OFFSET ?)", KEYS_KEPT),
)
"""Beyond so many the oldest go."""


class Damaged(Exception):
    """The file is not what this program writes."""


@dataclass(slots=True)
class Rows:
    """What is to be written, or was read. `spent` has the app, the organisation (empty: the app itself), when
    it was recorded, and the record; `keys` the hash, its first and its last use; `ended` names holds that are
    no more.
    """

    at: float
    wall: float
    spent: list[tuple[str, str, float, Record]] = field(default_factory=list)
    holds: list[tuple[HoldKey, Hold]] = field(default_factory=list)
    ended: list[HoldKey] = field(default_factory=list)
    keys: list[tuple[bytes, float, float]] = field(default_factory=list)


def write(db: sqlite3.Connection, rows: Rows) -> None:
    """Put `rows` in the place of what was there."""
    db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (rows.at, rows.wall))
    db.executemany(
        "INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)",
        (
            (_bytes(app), _bytes(tenant), at, orjson.dumps(tuple(minute)), day and orjson.dumps(tuple(day)))
            for app, tenant, at, (minute, day) in rows.spent
        ),
    )
    db.executemany(
        "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((*_key(key), hold.reason, hold.until, hold.probe, hold.failures) for key, hold in rows.holds),
    )
    db.executemany(
        "DELETE FROM holds WHERE scope = ? AND app = ? AND tenant = ? AND api = ?", map(_key, rows.ended)
    )
    db.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", rows.keys)


def prune(db: sqlite3.Connection, at: float) -> None:
    """Remove what no longer matters at `at`, and what is too much."""
    for statement, age in PRUNE:
        db.execute(statement, (at - age,))
    for statement, most in BOUND:
        db.execute(statement, (most,))


def read(db: sqlite3.Connection) -> Rows | None:
    """Everything, the oldest first; None where nothing was written yet. Raises Damaged."""
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise Damaged
    try:
        clock = db.execute("SELECT at, wall FROM clock").fetchone()
        if clock is None:
            return None
        at, wall = map(_time, clock)
        return Rows(at, wall, list(_spent(db)), list(_holds(db)), keys=list(_keys(db)))
    except (TypeError, ValueError) as error:
        raise Damaged from error


def _spent(db: sqlite3.Connection) -> Iterator[tuple[str, str, float, Record]]:
    for app, tenant, at, minute, day in db.execute(
        "SELECT app, tenant, at, minute, day FROM spent ORDER BY at"
    ):
        flying, calls, others = orjson.loads(minute)
        window = WindowRecord(_count(flying), _pairs(calls), _pairs(others))
        yield _name(app), _name(tenant), _time(at), (window, None if day is None else _day(orjson.loads(day)))


def _day(values: Any) -> DayRecord:
    calls, said, asked, *shown = values
    if said is not None and not isinstance(said, int):
        raise TypeError
    limit = shown[0] if shown else None  # a file of the first release has none
    return DayRecord(
        _pairs(calls), said, *(None if value is None else _count(value) for value in (asked, limit))
    )


def _holds(db: sqlite3.Connection) -> Iterator[tuple[HoldKey, Hold]]:
    for scope, app, tenant, api, reason, until, probe, failures in db.execute("SELECT * FROM holds"):
        key = HoldKey(Scope(scope), _name(app), _name(tenant), _text(api))
        yield key, Hold(_text(reason), 0.0, _time(until), bool(_count(probe)), _count(failures))


def _keys(db: sqlite3.Connection) -> Iterator[tuple[bytes, float, float]]:
    for digest, first, last in db.execute("SELECT digest, first, last FROM keys ORDER BY last"):
        if not isinstance(digest, bytes):
            raise TypeError
        yield digest, _time(first), _time(last)


def _key(key: HoldKey) -> tuple[str, bytes, bytes, str]:
    return key.scope.value, _bytes(key.app), _bytes(key.tenant), key.api


def _pairs(values: Any) -> tuple[tuple[int, int], ...]:
    pairs = tuple((_count(age), _count(count)) for age, count in values)
    _count(sum(count for _, count in pairs))
    return pairs


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MOST:
        raise ValueError
    return value


def _time(value: Any) -> float:
    if not isinstance(value, float) or not isfinite(value):
        raise ValueError
    return value


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _name(value: Any) -> str:
    if not isinstance(value, bytes):
        raise TypeError
    return value.decode("utf-8", "surrogatepass")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
