"""Every resource of the Accounting API, from the table that describes it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from proxy.simulator.accounting import BY_ENDPOINT, RESOURCES, Resource
from proxy.simulator.answers import Answer
from proxy.simulator.xero import Xero
from tests.simulator.calls import API, ask, call, make, said

ID = "11111111-2222-4333-8444-555555555555"
LINES = [{"Description": "Paper", "Quantity": 2, "UnitAmount": 4.5}]
GIVEN: dict[str, Any] = {
    "Account": {"Code": "090"},
    "Amount": "7.50",
    "BankAccount": {"Code": "090"},
    "Code": "A1",
    "Contact": {"Name": "Ada"},
    "FirstName": "Ada",
    "FromBankAccount": {"Code": "090"},
    "JournalLines": [{"LineAmount": 1.0, "AccountCode": "200"}, {"LineAmount": -1.0, "AccountCode": "400"}],
    "LastName": "King",
    "LineItems": LINES,
    "Name": "Ada",
    "Narration": "Accrual",
    "PaymentServiceName": "Pay",
    "Payments": [{"Amount": 1.0}],
    "Receipts": [{"ReceiptID": ID}],
    "Schedule": {"Period": 1, "Unit": "MONTHLY"},
    "SourceLineItemID": ID,
    "SourceTransactionID": ID,
    "TaxComponents": [{"Name": "Tax", "Rate": 10.0}],
    "ToBankAccount": {"Code": "091"},
    "Type": "EXPENSE",
    "User": {"UserID": ID},
}


def element(resource: Resource) -> dict[str, Any]:
    """What is enough to create one."""
    least = {name: GIVEN[name] for name in resource.needs}
    return least | ({"Type": resource.types.split()[0]} if resource.types else {})


def do(xero: Xero, method: str, path: str, value: object = None, **headers: str) -> Answer:
    return ask(xero, call(method, f"{API}/{path}", value, **headers))


def found(answer: Answer, plural: str) -> list[dict[str, Any]]:
    assert answer.status == 200, answer
    records: list[dict[str, Any]] = said(answer)[plural]
    return records


def those_that_can(method: str) -> list[Resource]:
    return [resource for resource in RESOURCES if method in resource.can.split()]


def by_name(resource: Resource) -> str:
    return resource.plural


def one_of(xero: Xero, resource: Resource) -> dict[str, Any]:
    """A record: a new one where that can be, else one that is there from the start."""
    name = resource.plural
    can_be_made = "PUT" in resource.can.split()
    return found(do(xero, "PUT", name, element(resource)) if can_be_made else do(xero, "GET", name), name)[0]


@pytest.mark.parametrize("resource", those_that_can("PUT"), ids=by_name)
def test_what_is_created_is_listed_and_read(resource: Resource) -> None:
    xero, name = make(), resource.plural
    before = found(do(xero, "GET", name), name)
    (made,) = found(do(xero, "PUT", name, {name: [element(resource)]}), name)
    assert made["UpdatedDateUTC"].startswith("/Date(")
    listed = found(do(xero, "GET", name), name)
    assert [record for record in listed if record not in before] == [made]
    for way in (resource.id, resource.key or resource.id):
        if made[way]:
            assert found(do(xero, "GET", f"{name.lower()}/{quote(made[way])}"), name) == [made]


@pytest.mark.parametrize("resource", RESOURCES, ids=by_name)
def test_what_can_be_updated_is_and_keeps_what_the_update_does_not_name(resource: Resource) -> None:
    xero, name, can = make(), resource.plural, resource.can.split()
    made = one_of(xero, resource)
    path = f"{name}/{quote(made[resource.id])}"
    for where, given in (("POST/", {}), ("POST", {resource.id: made[resource.id]})):
        answer = do(xero, "POST", path if where == "POST/" else name, {**given, "Note": where})
        if where not in can:
            assert (answer.status, said(answer)["Type"]) == (501, "ApiMethodNotImplementedException")
            continue
        (updated,) = found(answer, name)
        assert found(do(xero, "GET", path), name) == [updated]
        assert {**updated, "LineItems": 0} == {**made, "Note": where, "LineItems": 0}


@pytest.mark.parametrize("resource", RESOURCES, ids=by_name)
def test_what_can_be_deleted_is_gone(resource: Resource) -> None:
    xero, name = make(), resource.plural
    path = f"{name}/{quote(one_of(xero, resource)[resource.id])}"
    status = do(xero, "DELETE", path).status
    deletes = [int(word.removeprefix("DELETE/")) for word in resource.can.split() if "DELETE" in word]
    assert status == (deletes or [501])[0]
    assert do(xero, "GET", path).status == (404 if deletes else 200)


@pytest.mark.parametrize("resource", those_that_can("PUT"), ids=by_name)
def test_nothing_is_saved_without_what_it_needs(resource: Resource) -> None:
    xero, name = make(), resource.plural
    before = do(xero, "GET", name).body
    for member in (*resource.needs, *(("Type",) if resource.types else ())):
        lacking = {key: value for key, value in element(resource).items() if key != member}
        answer = do(xero, "PUT", name, lacking)
        assert (answer.status, said(answer)["ErrorNumber"]) == (400, 10), member
    assert len(found(do(xero, "GET", name), name)) == before.count(b"UpdatedDateUTC")


@pytest.mark.parametrize("resource", [each for each in those_that_can("PUT") if each.key], ids=by_name)
def test_a_key_belongs_to_one_record(resource: Resource) -> None:
    xero, name = make(), resource.plural
    kind = {"Type": resource.unique_for} if resource.unique_for else {}
    keyed = {**element(resource), **kind, resource.key: "K-1"}
    (made,) = found(do(xero, "PUT", name, keyed), name)
    assert do(xero, "PUT", name, {**keyed, resource.key: "k-1"}).status == 400
    if "POST" in resource.can.split():
        (updated,) = found(do(xero, "POST", name, {**keyed, "Note": "again"}), name)
        assert (updated[resource.id], updated["Note"]) == (made[resource.id], "again")


@pytest.mark.parametrize("resource", those_that_can("PUT"), ids=by_name)
def test_a_record_is_the_same_in_xml(resource: Resource) -> None:
    xero, name = make(), resource.plural
    made = one_of(xero, resource)
    answer = do(xero, "GET", f"{name}/{quote(made[resource.id])}", accept="application/xml")
    document = ET.fromstring(answer.body)  # noqa: S314 - our own output
    shown = document.find(f"{name}/{resource.singular}")
    assert shown is not None
    assert shown.findtext(resource.id) == made[resource.id]
    assert {child.tag for child in shown} == set(made)
    shown.remove(next(child for child in shown if child.tag == resource.id))
    for child in [child for child in shown if child.tag == resource.key]:
        shown.remove(child)
    again = element(resource).get(resource.key)
    if again is not None:
        ET.SubElement(shown, resource.key).text = f"{again}-2"
    (copied,) = found(do(xero, "PUT", name, ET.tostring(shown)), name)
    assert set(copied) == set(made)
    for member in ("Amount", "Total", "Date"):
        assert copied.get(member) == made.get(member)


def test_every_organisation_has_what_its_first_records_need() -> None:
    xero = make()
    for name in ("Accounts", "TaxRates", "Currencies", "Users", "BrandingThemes", "Journals", "Prepayments"):
        assert found(do(xero, "GET", name), name), name
    assert found(do(xero, "GET", "Accounts/090"), "Accounts")[0]["Type"] == "BANK"


def test_journals_are_listed_from_an_offset_so_that_a_reader_comes_to_an_end() -> None:
    xero = make()
    assert len(found(do(xero, "GET", "Journals?offset=0"), "Journals")) == 1
    assert found(do(xero, "GET", "Journals?offset=1"), "Journals") == []


@pytest.mark.parametrize(
    ("name", "part", "value"),
    [
        ("TrackingCategories", "Options", {"Name": "North"}),
        ("ContactGroups", "Contacts", {"ContactID": ID}),
        ("CreditNotes", "Allocations", {"Amount": 1.0, "Invoice": {"InvoiceID": ID}}),
        ("Prepayments", "Allocations", {"Amount": 1.0, "Invoice": {"InvoiceID": ID}}),
    ],
)
def test_a_part_of_a_record_is_added_changed_and_deleted(name: str, part: str, value: dict[str, Any]) -> None:
    xero, resource = make(), BY_ENDPOINT[name.lower()]
    path = f"{name}/{one_of(xero, resource)[resource.id]}"
    (added,) = found(do(xero, "PUT", f"{path}/{part}", {part: [value]}), part)
    assert found(do(xero, "GET", path), name)[0][part] == [added]
    one = f"{path}/{part}/{added[resource.parts[part]]}"
    assert found(do(xero, "POST", one, {"Note": "n"}), part) == [{**added, "Note": "n"}]
    assert do(xero, "DELETE", one).status == 204
    assert found(do(xero, "GET", f"{path}/{part}"), part) == []
    assert do(xero, "POST", one, {"Note": "n"}).status == 404
    assert do(xero, "PUT", f"{path}/Unknown", {}).status == 404


def test_notes_are_kept_beside_a_record() -> None:
    xero = make()
    path = f"Quotes/{one_of(xero, BY_ENDPOINT['quotes'])['QuoteID']}/History"
    do(xero, "PUT", path, {"HistoryRecords": [{"Details": "Called back"}]})
    assert [note["Details"] for note in found(do(xero, "GET", path), "HistoryRecords")] == ["Called back"]


@pytest.mark.parametrize("written", ["2026-09-21T14:13:20", "Mon, 21 Sep 2026 14:13:20 GMT"])
def test_if_modified_since_leaves_out_older_records_and_is_no_condition(written: str) -> None:
    xero = make(epoch=1_790_000_000.0)  # the moment that is written
    ask(xero, call("PUT", f"{API}/Contacts", {"Name": "Old"}), 0.0)
    ask(xero, call("PUT", f"{API}/Contacts", {"Name": "New"}), 5.0)
    answer = ask(xero, call(path=f"{API}/Contacts", if_modified_since=written), 6.0)
    assert [contact["Name"] for contact in found(answer, "Contacts")] == ["New"]
    later = ask(xero, call(path=f"{API}/Contacts", if_modified_since=written.replace("14:", "15:")), 6.0)
    assert found(later, "Contacts") == []


def test_a_condition_that_cannot_be_read_fails_as_one() -> None:
    assert do(make(), "GET", "Contacts", if_modified_since="yesterday").status == 412
