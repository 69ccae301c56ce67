"""Contacts and invoices of one organisation: what may be saved, and what saving makes of it.

Enough of Xero's rules that a client meets both success and refusal: contact names and the
numbers of sales invoices are unique, bills have no such guard, so that a bill sent twice is two bills.
An element is checked first and stored afterwards, so that a request with one bad element stores none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from uuid import UUID

from proxy.simulator.tables import Table
from proxy.simulator.wire import Record, iso_date, json_date, seconds_of

DUE_SECONDS = 30 * 86400


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

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.contacts = Table("ContactID", "Name")
        self.invoices = Table("InvoiceID", "InvoiceNumber")
        self.attachments: dict[tuple[str, str], dict[str, Attachment]] = {}
        """By endpoint and record id, then by file name."""
        self._random = random
        self._invoice_number = 0

    def new_id(self) -> str:
        """A random id."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def check_contact(self, element: Record, wall: float, *, create: bool) -> Checked:
        """Check a contact; `create` is PUT, which never updates. ValueError for a bad date."""
        name = str(element.get("Name") or "").strip()
        old = self.contacts.get(element.get("ContactID"))
        if old is None and element.get("ContactID"):
            return Checked(element, ("Unable to find contact with the specified contact Id",))
        same = self.contacts.find(name)
        if old is None and not create:
            old = same
        if not (name or old):
            return Checked(element, ("The contact name cannot be empty.",))
        if same is not None and same is not old:
            return Checked(element, (_name_taken(name),))
        base = old or {"ContactID": self.new_id(), "ContactStatus": "ACTIVE", "Addresses": [], "Phones": []}
        ours = {"ContactID": base["ContactID"], "UpdatedDateUTC": json_date(wall)}
        return Checked({**base, **_given(element), **ours})

    def store_contact(self, record: Record, _wall: float) -> Record:
        """Store a contact that passed its check."""
        self.contacts.store(record)
        return record

    def check_invoice(self, element: Record, wall: float, *, create: bool) -> Checked:
        """Check an invoice; `create` is PUT, which never updates. ValueError for a bad number or date."""
        old = self.invoices.get(element.get("InvoiceID"))
        if old is None and element.get("InvoiceID"):
            return Checked(element, ("Invoice could not be found",))
        sale = (old or element).get("Type") == "ACCREC"
        same = self.invoices.find(element.get("InvoiceNumber")) if sale else None
        if old is None and not create:
            old = same
        if same is not None and same is not old:
            return Checked(element, ("Invoice # must be unique.",))
        base = old or self._new_invoice(wall)
        record = {**base, **_given(element), "InvoiceID": base["InvoiceID"]}
        if errors := _invoice_errors(record):
            return Checked(element, errors)
        return Checked(_totalled(record, wall, self.new_id))

    def store_invoice(self, record: Record, wall: float) -> Record:
        """Store an invoice that passed its check, with its number and contact."""
        number = record["InvoiceNumber"]
        if record["Type"] == "ACCREC" and not number:
            self._invoice_number += 1
            number = f"INV-{self._invoice_number:04}"
        contact = self._contact_of(record["Contact"], wall)
        stored = {**record, "InvoiceNumber": number, "Contact": contact}
        self.invoices.store(stored)
        return stored

    def _new_invoice(self, wall: float) -> Record:
        return {
            "InvoiceID": self.new_id(),
            "InvoiceNumber": "",
            "Status": "DRAFT",
            "LineAmountTypes": "Exclusive",
            "LineItems": [],
            "CurrencyCode": "NZD",
            "Date": json_date(wall),
            "DueDate": json_date(wall + DUE_SECONDS),
            "AmountPaid": 0.0,
            "AmountCredited": 0.0,
            "Payments": [],
        }

    def _contact_of(self, wanted: Record, wall: float) -> Record:
        """The invoice's contact, by id or name; whom nobody knows becomes a new contact, as at Xero."""
        name = str(wanted.get("Name") or wanted.get("ContactID"))
        found = self.contacts.get(wanted.get("ContactID")) or self.contacts.find(name)
        if found is None:
            found = self.check_contact({"Name": name}, wall, create=True).record
            self.contacts.store(found)
        return {"ContactID": found["ContactID"], "Name": found["Name"]}


def _given(element: Record) -> Record:
    """What an element sets: a null leaves the old value, and dates become Xero's form."""
    given = {name: value for name, value in element.items() if value is not None}
    for name in ("Date", "DueDate"):
        if name in given:
            given[name] = json_date(seconds_of(str(given[name])))
    return given


def _name_taken(name: str) -> str:
    return (
        f"The contact name {name} is already assigned to another contact. "
        "The contact name must be unique across all active contacts."
    )


def _invoice_errors(invoice: Record) -> tuple[str, ...]:
    contact, lines = invoice.get("Contact"), invoice["LineItems"]
    errors = []
    if invoice.get("Type") not in {"ACCREC", "ACCPAY"}:
        errors.append("Invoice type is invalid")
    if not isinstance(contact, dict) or not (contact.get("ContactID") or contact.get("Name")):
        errors.append("Contact cannot be empty.")
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        errors.append("Input string was not in a correct format.")
    elif any(_number(line, "Quantity", 1.0) < 0 for line in lines):
        errors.append("Line item quanitites cannot be negative")
    return tuple(errors)


def _totalled(invoice: Record, wall: float, new_id: Callable[[], str]) -> Record:
    """The invoice with its lines' and its own amounts."""
    lines = []
    for line in invoice["LineItems"]:
        quantity, unit = _number(line, "Quantity", 1.0), _number(line, "UnitAmount", 0.0)
        amounts = {"Quantity": quantity, "UnitAmount": unit, "LineAmount": round(quantity * unit, 2)}
        tax = {"TaxAmount": _number(line, "TaxAmount", 0.0)}
        lines.append({"LineItemID": new_id(), "Tracking": [], **line, **amounts, **tax})
    net = round(sum(line["LineAmount"] for line in lines), 2)
    tax_total = round(sum(line["TaxAmount"] for line in lines), 2)
    return {
        **invoice,
        "LineItems": lines,
        "SubTotal": net,
        "TotalTax": tax_total,
        "Total": round(net + tax_total, 2),
        "AmountDue": round(net + tax_total - _number(invoice, "AmountPaid", 0.0), 2),
        "DateString": iso_date(seconds_of(invoice["Date"])),
        "DueDateString": iso_date(seconds_of(invoice["DueDate"])),
        "UpdatedDateUTC": json_date(wall),
    }


def _number(record: Record, member: str, default: float) -> float:
    value = record.get(member)
    return default if value is None or value == "" else float(str(value))
