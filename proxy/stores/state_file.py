"""The SQLite file in which state outlives the process: making it, locking it, and what can be wrong with it.

Everything here waits for the disk and belongs to one thread. Only one process can have the file: SQLite's
lock on it is held from `open` to `close`, or to the end of the process however that ends. A process that is
killed loses nothing that was written; a machine without power may lose the last moments, and not more.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config.settings import PREFIX, BadSettings
from proxy.stores.state_rows import SCHEMA, Damaged, Rows, prune, read, write

APPLICATION = 0x7865726F
"""SQLite's `application_id`, by which the file is known for one of ours: "xero"."""
VERSION = 1
LOCK_SECONDS = 1.0
"""A process that is just ending may have the file for so long."""
LOG_BYTES = 4 * 1024 * 1024
"""To which SQLite's write-ahead log is cut when it has grown beyond."""

REASONS = {
    "SQLITE_FULL": "full",
    "SQLITE_IOERR": "io",
    "SQLITE_READONLY": "read_only",
    "SQLITE_BUSY": "locked",
    "SQLITE_CANTOPEN": "unusable",
    "SQLITE_PERM": "unusable",
    "SQLITE_CORRUPT": "damaged",
    "SQLITE_NOTADB": "damaged",
}


@dataclass(frozen=True, slots=True)
class Lost:
    """The file could not be understood: where it is now, and the wall clock of its last write."""

    moved_to: Path
    wall: float


class StateFile:
    """One file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def open(self, wall: float) -> Rows | Lost | None:
        """Make the file this process's own; what was kept in it, or None where it is new.

        One that cannot be understood is renamed, `wall` in its name, and begun anew. Raises BadSettings where
        the setting cannot be right, OSError where another process has the file or the disk fails.
        """
        try:
            return self._open()
        except Damaged:
            lost = self._move_aside(wall)
        self._open()
        return lost

    def write(self, rows: Rows, *, pruning: bool) -> None:
        """All of `rows` or nothing. Raises sqlite3.Error."""
        if self._db is None:
            raise sqlite3.ProgrammingError("the state file is not open")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            write(self._db, rows)
            if pruning:
                prune(self._db, rows.at)
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # it may have been rolled back already
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of the file; nothing happens where it is not open."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _open(self) -> Rows | None:
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._check_kind(self._db)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            return read(self._db)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise self._refusal(error) from error
        except (BadSettings, Damaged):
            self.close()
            raise

    def _check_kind(self, db: sqlite3.Connection) -> None:
        """Make the tables of a new file; refuse what is another program's, or a later version's."""
        ((application,),) = db.execute("PRAGMA application_id")
        ((version,),) = db.execute("PRAGMA user_version")
        ((tables,),) = db.execute("SELECT count(*) FROM sqlite_master")
        if not (application or version or tables):
            identity = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
            db.executescript(f"BEGIN EXCLUSIVE; {SCHEMA} {identity} COMMIT;")
        elif application != APPLICATION:
            raise self._bad("is a database of another program")
        elif version > VERSION:
            raise self._bad(f"was written by a later release: version {version}, and {VERSION} is known here")
        elif version != VERSION:
            raise Damaged

    def _refusal(self, error: sqlite3.Error | OSError) -> Exception:
        if isinstance(error, OSError):
            return self._bad(f"cannot be used: {error.strerror}")
        match reason_of(error):
            case "locked":
                return OSError(errno.EBUSY, "another process has the state file", str(self._path))
            case "unusable" | "read_only":
                return self._bad(f"cannot be used: {error}")
            case "full" | "io":
                return OSError(errno.EIO, str(error), str(self._path))
            case _:
                return Damaged(str(error))

    def _bad(self, what: str) -> BadSettings:
        return BadSettings([f"{PREFIX}STATE_FILE names {self._path}, which {what}"])

    def _move_aside(self, wall: float) -> Lost:
        """Rename the file and what SQLite left beside it, so that nobody takes it for the new one's."""
        target = self._path.with_name(f"{self._path.name}.damaged-{wall:.0f}")
        written = 0.0
        for ending in ("", "-wal", "-shm", "-journal"):
            source = self._path.with_name(self._path.name + ending)
            with suppress(FileNotFoundError):
                written = max(written, source.stat().st_mtime)
                source.rename(target.with_name(target.name + ending))
        return Lost(target, written)


def reason_of(error: sqlite3.Error) -> str:
    """What went wrong, in a word."""
    name = getattr(error, "sqlite_errorname", "")
    return next((reason for prefix, reason in REASONS.items() if name.startswith(prefix)), "other")
