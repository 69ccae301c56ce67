"""What is answered through the sidecar is what is answered without it, but for documented header fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.clients.conformance import JSON, Call, Comparison, compare
from tests.clients.driver import TENANT
from tests.clients.openapi import BASE, operations, read_document
from tests.clients.servers import localstack_xero, prism
from tests.e2e.harness import sidecar, xero

UNBOUND = {"tenant_minute_limit": 100_000, "app_minute_limit": 100_000, "tenant_day_limit": 1_000_000}
FORM = ("Content-Type", "application/x-www-form-urlencoded")
CONTACT = {"Contacts": [{"Name": "Ada"}]}
LINE = {"Description": "Notes", "Quantity": 2, "UnitAmount": 3.5, "AccountCode": "200"}
INVOICE = {
    "Type": "ACCREC",
    "Contact": {"ContactID": "{contact}"},
    "LineItems": [LINE],
    "Status": "AUTHORISED",
}
PAYMENT = {"Invoice": {"InvoiceID": "{invoice}"}, "Account": {"Code": "090"}, "Amount": 7}

EVERYDAY = (
    Call("GET", "/connections"),
    Call(
        "POST", "/connect/token", b"grant_type=client_credentials&client_id=a&client_secret=b", (JSON, FORM)
    ),
    Call("POST", f"{BASE}/Contacts", CONTACT, keeps=("contact", "ContactID")),
    Call("GET", f"{BASE}/Contacts?page=1"),
    Call("GET", f"{BASE}/Contacts/{{contact}}"),
    Call("POST", f"{BASE}/Contacts/{{contact}}", {"Name": "Ada King"}),
    Call("POST", f"{BASE}/Invoices", {"Invoices": [INVOICE]}, keeps=("invoice", "InvoiceID")),
    Call("GET", f"{BASE}/Invoices/{{invoice}}"),
    Call("GET", f"{BASE}/Invoices?page=1&Statuses=AUTHORISED"),
    Call("POST", f"{BASE}/Payments", PAYMENT, keeps=("payment", "PaymentID")),
    Call("GET", f"{BASE}/Contacts/00000000-0000-0000-0000-000000000000"),
    Call("GET", f"{BASE}/NoSuchThing"),
    Call("HEAD", f"{BASE}/Contacts"),
)
"""What both stateful stand-ins can do, and calls that they refuse."""

MORE = (
    Call("GET", "/Connections"),
    Call("GET", f"{BASE}/Contacts", headers=()),  # in XML
    Call("GET", f"{BASE}/Contacts", {}),  # a GET with a body
    Call("PUT", f"{BASE}/Contacts", {"Contacts": [{"Name": "Ada King"}]}),  # a name that is taken
    Call("PUT", f"{BASE}/Contacts", b"no JSON"),
    Call("GET", f'{BASE}/Contacts?where=Name%3D%3D"Ada%20King"&&order=Name'),
    Call("PUT", f"{BASE}/Invoices/{{invoice}}/Attachments/a%20b.bin", bytes(range(256)) * 1000),
    Call("GET", f"{BASE}/Invoices/{{invoice}}/Attachments/a%20b.bin", headers=()),
    Call("PUT", f"{BASE}/Contacts", {"Name": "Once"}, (JSON, ("Idempotency-Key", "one"))),
    Call("PUT", f"{BASE}/Contacts", {"Name": "Once"}, (JSON, ("Idempotency-Key", "one"))),
    Call("PUT", f"{BASE}/Contacts", {"Name": "Other"}, (JSON, ("Idempotency-Key", "one"))),
    Call("GET", f"{BASE}/Contacts", headers=(JSON, ("Xero-Tenant-Id", "unknown"))),
    Call("GET", f"{BASE}/Contacts", headers=(JSON, ("Authorization", "Basic bm8="))),
    Call("DELETE", f"{BASE}/Contacts/{{contact}}"),
    Call("OPTIONS", f"{BASE}/Contacts"),
)
"""What only the project's own simulator can do besides."""

Note = Callable[[str, object], None]


def conforms(found: Comparison, server: str, note: Note) -> None:
    """The summary at the end of the run shows it."""
    note("conformance", f"{server}: {found}")
    assert found.different == []


async def test_the_simulator_through_the_sidecar(record_property: Note) -> None:
    options = {"known_tenants": (TENANT,)}
    async with (
        xero(**options) as direct,
        xero(**options) as upstream,
        sidecar(upstream.url) as car,
    ):
        found = await compare(direct.url, f"http://127.0.0.1:{car.car.port}", (*EVERYDAY, *MORE))
    conforms(found, "simulator", record_property)


async def test_localstack_xero_through_the_sidecar(record_property: Note) -> None:
    async with (
        localstack_xero() as direct,
        localstack_xero() as upstream,
        sidecar(upstream, **UNBOUND) as car,
    ):
        found = await compare(direct, f"http://127.0.0.1:{car.car.port}", EVERYDAY)
    conforms(found, "localstack-xero", record_property)


REFUSED = {
    "updateOrCreateBankTransactions": 400,  # the document's own example lacks what its schema demands
    "updateBankTransaction": 400,  # likewise
    "createBankTransfer": 400,  # likewise: an amount as a text
    "deletePayment": 400,  # likewise
    "getContactByContactNumber": 422,  # Prism takes the number for an id, since both are one path
    "getJournal": 422,  # and an id for a number
}
"""What Prism refuses of requests made from the examples in the document that the package ships."""


async def test_every_operation_of_the_accounting_api_through_the_sidecar(
    record_property: Note, tmp_path: Path
) -> None:
    document = read_document()
    driven = list(operations(document))
    calls = [Call(each.method, each.target, each.body, each.headers) for each in driven]
    async with prism(document, tmp_path) as upstream, sidecar(upstream, **UNBOUND) as car:
        found = await compare(upstream, f"http://127.0.0.1:{car.car.port}", calls)
    conforms(found, f"Prism on Xero's document {document.origin}", record_property)
    assert len(found.statuses) > 230
    if document.packaged:
        answered = zip(driven, found.statuses, strict=True)
        assert {each.name: status for each, status in answered if status >= 400} == REFUSED


async def test_what_a_sidecar_changed_would_be_found() -> None:
    calls = [Call("GET", f"{BASE}/Contacts"), Call("GET", f"{BASE}/Organisation")]
    async with xero() as direct, xero() as upstream, sidecar(upstream.url) as car:
        through = f"http://127.0.0.1:{car.car.port}"
        upstream.fail_next(1, "500", executed=True)
        upstream.foreign_call(TENANT)  # so that other calls remain
        assert len((await compare(direct.url, through, calls)).different) == 2
        assert len((await compare(direct.url, direct.url, calls)).different) == 2
