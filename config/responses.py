"""Loads the response table from `responses.toml`. A mistake in the file stops the start, by row.

The table is checked for what a reader could miss: a key, class, scope or source that does not exist, a row
that an earlier one hides, and a class whose rows disagree about what it means.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from proxy.core.answers.classify import Match, ResponseTable, Row
from proxy.core.model import Access, Execution, HoldRule, Limit, ResponseClass, Scope

RESPONSES = Path(__file__).with_name("responses.toml")

E = TypeVar("E", bound=StrEnum)

_GARBAGE = "upstream_garbage"
_HUNDREDS = {"2xx": 2, "3xx": 3, "4xx": 4, "5xx": 5}
_SECONDS = {"retry_after", "offline", "backoff"}
_SUBJECTS = {"status", "failure"}
_CONDITIONS = {"header", "body", "api", "kept"}
_MEANING = {"execution", "hold", "limit", "healthy", "breaks", "access", "proves"}
_KEYS = _SUBJECTS | _CONDITIONS | _MEANING | {"class", "source"}
_HOLD_KEYS = {"scope", "reason", "seconds", "probe"}


class BadTable(ValueError):
    """The response table is wrong; the message names the row."""


@dataclass(slots=True)
class _Draft:
    rows: dict[int, tuple[Row, ...]] = field(default_factory=dict)
    hundreds: dict[int, ResponseClass] = field(default_factory=dict)
    named: dict[str, ResponseClass] = field(default_factory=dict)
    classes: dict[str, ResponseClass] = field(default_factory=dict)


def load_responses(path: Path = RESPONSES) -> ResponseTable:
    """The response table. Raises `BadTable`."""
    return read_responses(tomllib.loads(path.read_text("utf-8")))


def read_responses(document: dict[str, Any]) -> ResponseTable:
    """As `load_responses`, from the parsed file."""
    draft = _Draft()
    for number, row in enumerate(document["row"], start=1):
        _add(draft, f"row {number} ({row.get('class')})", row, document["sources"])
    if missing := set(_HUNDREDS.values()) - draft.hundreds.keys():
        raise BadTable(f"no row for the hundreds {sorted(missing)}")
    if _GARBAGE not in draft.named:
        raise BadTable(f"no row for {_GARBAGE}")
    return ResponseTable(draft.rows, draft.hundreds, draft.named[_GARBAGE], draft.named)


def _add(draft: _Draft, where: str, row: dict[str, Any], sources: dict[str, str]) -> None:
    _refuse_unknown(where, "key", row.keys(), _KEYS)
    _refuse_unknown(where, "source", _texts(row.get("source", "")), sources)
    response = _response(where, row)
    if draft.classes.setdefault(response.name, response) != response:
        raise BadTable(f"{where}: differs from an earlier row of the same class")
    match = _match(where, row) if _CONDITIONS & row.keys() else None
    subjects = _SUBJECTS & row.keys()
    if subjects == {"status"}:
        for status in row["status"] if isinstance(row["status"], list) else [row["status"]]:
            _add_status(draft, where, status, Row(response, match))
    elif len(subjects) != 1 or match is not None or row[subjects.pop()] is not True:
        raise BadTable(f"{where}: needs a status, or failure = true and no conditions")
    elif response.name in draft.named:
        raise BadTable(f"{where}: there is such a row already")
    else:
        draft.named[response.name] = response


def _add_status(draft: _Draft, where: str, status: int | str, row: Row) -> None:
    match status:
        case int() if 100 <= status <= 599:
            known = draft.rows.get(status, ())
            if known and known[-1].match is None:
                raise BadTable(f"{where}: an earlier row takes all of {status}")
            draft.rows[status] = (*known, row)
        case str() if status in _HUNDREDS and row.match is None and _HUNDREDS[status] not in draft.hundreds:
            draft.hundreds[_HUNDREDS[status]] = row.response
        case _:
            raise BadTable(f"{where}: {status!r} is no status, or taken by an earlier row")


def _response(where: str, row: dict[str, Any]) -> ResponseClass:
    name = row.get("class", "")
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise BadTable(f"{where}: class must be a name in lower case")
    return ResponseClass(
        name=name,
        execution=_member(where, Execution, row.get("execution")),
        hold=_hold(where, row["hold"]) if "hold" in row else None,
        limit=_member(where, Limit, row["limit"]) if "limit" in row else None,
        healthy=_flag(where, row, "healthy", default=False),
        breaks=_flag(where, row, "breaks", default=False),
        access=_member(where, Access, row["access"]) if "access" in row else None,
        proves=_flag(where, row, "proves", default=False),
    )


def _hold(where: str, hold: dict[str, Any]) -> HoldRule:
    _refuse_unknown(where, "key in hold", hold.keys(), _HOLD_KEYS)
    seconds = hold.get("seconds")
    if seconds not in _SECONDS and not (isinstance(seconds, int | float) and seconds > 0):
        raise BadTable(f"{where}: hold.seconds must be above 0 or one of {', '.join(sorted(_SECONDS))}")
    if not hold.get("reason"):
        raise BadTable(f"{where}: hold.reason is missing")
    scope = _member(where, Scope, hold.get("scope"))
    return HoldRule(scope, hold["reason"], seconds, probe=_flag(where, hold, "probe", default=True))


def _match(where: str, row: dict[str, Any]) -> Match:
    headers = tuple(
        (name.lower().encode("ascii"), re.compile(fnmatch.translate(pattern).encode("ascii"), re.IGNORECASE))
        for name, pattern in row.get("header", {}).items()
    )
    body = tuple(text.lower().encode("ascii") for text in _texts(row.get("body", [])))
    kept = _flag(where, row, "kept", default=False)
    return Match(headers, body, frozenset(_texts(row.get("api", []))), kept)


def _flag(where: str, row: dict[str, Any], key: str, *, default: bool) -> bool:
    value = row.get(key, default)
    return value if isinstance(value, bool) else _refuse(where, f"{key} must be true or false")


def _member(where: str, names: type[E], value: object) -> E:
    for member in names:
        if member == value:
            return member
    return _refuse(where, f"unknown {names.__name__.lower()} {value!r}")


def _texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _refuse_unknown(where: str, what: str, given: Iterable[str], known: Iterable[str]) -> None:
    if unknown := set(given) - set(known):
        raise BadTable(f"{where}: unknown {what} {', '.join(sorted(unknown))}")


def _refuse(where: str, why: str) -> NoReturn:
    raise BadTable(f"{where}: {why}")
