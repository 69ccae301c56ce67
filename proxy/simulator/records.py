"""The records of one organisation: what may be saved, and what saving makes of it.

Enough of Xero's rules that a client meets both success and refusal: what `accounting` says is needed and
unique, lines that are added up, numbers that are given, contacts that come into being. Bills have no unique
number, so that a bill sent twice is two bills.
An element is checked first and stored afterwards, so that a request with one bad element stores none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from proxy.simulator.accounting import BY_ENDPOINT, NUMBERS, RESOURCES, Resource
from proxy.simulator.tables import Table
from proxy.simulator.wire import Record, iso_date, json_date, seconds_of

DAY_SECONDS = 86400
CONTACTS = BY_ENDPOINT["contacts"]
BAD_FORMAT = "Input string was not in a correct format."


@dataclass(frozen=True, slots=True)
class Checked:
    """An element after the check: what would be stored, or why nothing is."""

    record: Record
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside a record."""

    attachment_id: str
    name: str
    content_type: str
    content: bytes


class Organisation:
    """One organisation's records. `wall` is seconds since 1970."""

    def __init__(self, name: str, random: Random, wall: float) -> None:
        self.name = name
        self.tables = {each.plural: Table(each.id, each.key) for each in RESOURCES}
        self.attachments: dict[tuple[str, str], dict[str, Attachment]] = {}
        """By endpoint and record id, then by file name."""
        self.history: dict[tuple[str, str], list[Record]] = {}
        """Notes, by endpoint and record id."""
        self.others: dict[str, dict[str, Record]] = {}
        """What other APIs were sent, by path in lower case, then by id."""
        self._random = random
        self._numbers: Counter[str] = Counter()
        for resource in RESOURCES:
            for place, seed in enumerate(resource.seeds):
                made = {resource.id: str(uuid5(NAMESPACE_DNS, f"{name} {resource.plural} {place}"))}
                record = {**made, **resource.new, **_given(dict(seed)), "UpdatedDateUTC": json_date(wall)}
                self.tables[resource.plural].store(record)

    def new_id(self) -> str:
        """A random id."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def check(self, resource: Resource, element: Record, wall: float, *, create: bool) -> Checked:
        """Check an element; `create` is PUT, which never updates. ValueError for a bad number or date."""
        table, words = self.tables[resource.plural], resource.words
        given_id = element.get(resource.id)
        old = table.get(given_id)
        if old is None and given_id and not resource.named:
            return Checked(element, (words.get("unknown", f"{resource.singular} could not be found"),))
        guarded = resource.unique_for in {"", (old or element).get("Type")}
        same = table.find(_key(resource, element)) if guarded else None
        if old is None and not create:
            old = same
        if same is not None and (same is not old or (create and resource.named)):
            taken = words.get("taken", f"{resource.key} must be unique.")
            return Checked(element, (taken.format(_key(resource, element)),))
        record = {**(old or self._new(resource, wall)), **_given(element)}
        if old is not None:
            record[resource.id] = old[resource.id]
        if errors := _errors(resource, record):
            return Checked(element, errors)
        if resource.lines:
            record = _totalled(record, self.new_id)
        return Checked({**record, "UpdatedDateUTC": json_date(wall)})

    def store(self, resource: Resource, record: Record, wall: float) -> Record:
        """Store a record that passed its check, with its number and contact."""
        member, form = resource.number
        if member and not record.get(member) and resource.unique_for in {"", record.get("Type")}:
            self._numbers[member] += 1
            record = {**record, member: form.format(self._numbers[member])}
        if isinstance(record.get("Contact"), dict):
            record = {**record, "Contact": self._contact_of(record["Contact"], wall)}
        self.tables[resource.plural].store(record)
        return record

    def _new(self, resource: Resource, wall: float) -> Record:
        made: Record = {} if resource.named else {resource.id: self.new_id()}
        if resource.key and not resource.named:
            made[resource.key] = ""
        dates = {name: json_date(wall + days * DAY_SECONDS) for name, days in resource.days.items()}
        return {**made, **resource.new, **dates}

    def _contact_of(self, wanted: Record, wall: float) -> Record:
        """A record's contact, by id or name; whom nobody knows becomes a new contact, as at Xero."""
        table = self.tables[CONTACTS.plural]
        name = str(wanted.get("Name") or wanted.get("ContactID"))
        found = table.get(wanted.get("ContactID")) or table.find(name)
        if found is None:
            found = self.check(CONTACTS, {"Name": name}, wall, create=True).record
            table.store(found)
        return {"ContactID": found["ContactID"], "Name": found["Name"]}


def _key(resource: Resource, element: Record) -> str:
    return str(element.get(resource.key) or "").strip() if resource.key else ""


def _given(element: Record) -> Record:
    """What an element sets: a null leaves the old value; numbers and dates become Xero's form."""
    given = {name: value for name, value in element.items() if value is not None}
    for name, value in given.items():
        if name.endswith("Date") and isinstance(value, str):
            given[name] = json_date(seconds_of(value))
        elif name in NUMBERS:
            given[name] = _number(given, name, 0.0)
    return given


def _errors(resource: Resource, record: Record) -> tuple[str, ...]:
    errors = []
    if resource.types and record.get("Type") not in resource.types.split():
        errors.append(f"{resource.singular} type is invalid")
    errors += [
        resource.words.get(name, f"{name} cannot be empty.")
        for name in resource.needs
        if _is_empty(name, record.get(name))
    ]
    if not resource.lines:
        return tuple(errors)
    lines = record.get("LineItems") or []  # an empty list in XML is an empty text
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        errors.append(BAD_FORMAT)
    elif any(_number(line, "Quantity", 1.0) < 0 for line in lines):
        errors.append("Line item quanitites cannot be negative")
    return tuple(errors)


def _is_empty(name: str, value: Any) -> bool:
    if name == "Contact":
        return not isinstance(value, dict) or not (value.get("ContactID") or value.get("Name"))
    return value in (None, [], {}) or not str(value).strip()


def _totalled(record: Record, new_id: Callable[[], str]) -> Record:
    """A record with its lines' and its own amounts, and its dates once more as texts."""
    lines = []
    for line in record["LineItems"] or ():
        quantity, unit = _number(line, "Quantity", 1.0), _number(line, "UnitAmount", 0.0)
        amounts = {"Quantity": quantity, "UnitAmount": unit, "LineAmount": round(quantity * unit, 2)}
        tax = {"TaxAmount": _number(line, "TaxAmount", 0.0)}
        lines.append({"LineItemID": new_id(), "Tracking": [], **line, **amounts, **tax})
    net = round(sum(line["LineAmount"] for line in lines), 2)
    tax_total = round(sum(line["TaxAmount"] for line in lines), 2)
    total = round(net + tax_total, 2)
    sums = {"SubTotal": net, "TotalTax": tax_total, "Total": total}
    if "AmountPaid" in record:
        sums["AmountDue"] = round(total - _number(record, "AmountPaid", 0.0), 2)
    texts = {f"{name}String": iso_date(seconds_of(record[name])) for name in record if name.endswith("Date")}
    return {**record, "LineItems": lines, **sums, **texts}


def _number(record: Record, member: str, default: float) -> float:
    value = record.get(member)
    return default if value is None or value == "" else float(str(value))
