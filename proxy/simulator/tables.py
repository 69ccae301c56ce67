"""Stored records: found by id or by their natural key, filtered and paged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from proxy.simulator.wire import Record

LONGEST_PAGE = 1000
_CONDITION = re.compile(r'\s*(\w+(?:\.\w+)?)\s*==\s*(?:guid\s*\(\s*)?"([^"]*)"\s*(?:\)\s*)?', re.IGNORECASE)


class BadFilter(Exception):
    """A `where` that is not understood."""


class Table:
    """Records in the order of their creation; ids and keys are compared without case.

    `natural_member` is what records are found by beside their id; empty where there is no such thing.
    """

    def __init__(self, id_member: str, natural_member: str) -> None:
        self.id_member = id_member
        self.natural_member = natural_member
        self._by_id: dict[str, Record] = {}
        self._by_natural: dict[str, Record] = {}

    def get(self, record_id: object) -> Record | None:
        """The record with this id."""
        return self._by_id.get(str(record_id).lower())

    def find(self, natural: object) -> Record | None:
        """The record with this natural key; an empty one is nobody's."""
        return self._by_natural.get(str(natural).lower()) if natural else None

    def store(self, record: Record) -> None:
        """Add a record or replace the one with its id. Of two with one natural key the last is found."""
        record_id = str(record[self.id_member]).lower()
        if (old := self._by_id.get(record_id)) is not None:
            self._forget(old)
        self._by_id[record_id] = record
        if natural := self._natural(record):
            self._by_natural[natural] = record

    def remove(self, record: Record) -> None:
        """Delete a record that is here."""
        self._forget(record)
        del self._by_id[str(record[self.id_member]).lower()]

    def select(self, query: dict[str, str]) -> list[Record]:
        """The records that `where`, `IDs`, `Statuses` and the like leave; BadFilter."""
        tests = []
        for parameter, member in (
            ("IDs", self.id_member),
            ("Statuses", "Status"),
            (f"{self.natural_member}s", self.natural_member),
            ("Status", "Status"),
            ("ContactIDs", "Contact.ContactID"),
        ):
            if parameter in query:
                tests.append(_one_of(member, query[parameter].split(",")))
        tests += _conditions(query.get("where", ""))
        return [record for record in self._by_id.values() if all(test(record) for test in tests)]

    def _natural(self, record: Record) -> str:
        return str(record.get(self.natural_member, "")).lower()

    def _forget(self, old: Record) -> None:
        """A record is no longer found by its natural key."""
        if self.find(natural := self._natural(old)) is old:
            del self._by_natural[natural]


def paged(found: list[Record], query: dict[str, str]) -> tuple[list[Record], Record | None]:
    """One page and the `pagination` member, or everything and None where no page is asked for.

    ValueError where `page` or `pageSize` is no number.
    """
    if "page" not in query:
        return found, None
    page = max(1, int(query["page"]))
    size = min(LONGEST_PAGE, max(1, int(query.get("pageSize", "100"))))
    pages = -(-len(found) // size)
    about = {"page": page, "pageSize": size, "pageCount": pages, "itemCount": len(found)}
    return found[(page - 1) * size : page * size], about


def _conditions(where: str) -> Iterable[Callable[[Record], bool]]:
    """The tests of `A=="x" AND B.C==guid("y")`; of Xero's filter language only this."""
    for condition in re.split(r"\bAND\b|&&", where, flags=re.IGNORECASE) if where.strip() else ():
        parsed = _CONDITION.fullmatch(condition)
        if parsed is None:
            raise BadFilter(condition.strip())
        yield _one_of(parsed[1], [parsed[2]])


def _one_of(member: str, wanted: list[str]) -> Callable[[Record], bool]:
    values = {value.strip().lower() for value in wanted}

    def test(record: Record) -> bool:
        value: Any = record
        for name in member.split("."):
            value = value.get(name, "") if isinstance(value, dict) else ""
        return str(value).lower() in values

    return test
