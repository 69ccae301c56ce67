"""xero-python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError
from xero_python.accounting import Contact, Contacts, Invoice, Invoices, LineItem
from xero_python.exceptions import ApiException

from tests.clients.drivers.protocol import TENANT, digest, serve, setup

example = setup()
accounting, identity, client = example["accounting"], example["identity"], example["client"]
OCTETS = "application/octet-stream"


def page(number: str) -> dict[str, Any]:
    return {"count": len(accounting.get_contacts(TENANT, page=int(number)).contacts)}


def where(condition: str) -> dict[str, Any]:
    return {"count": len(accounting.get_contacts(TENANT, where=condition).contacts)}


def create(name: str) -> dict[str, Any]:
    return {
        "id": accounting.create_contacts(TENANT, Contacts(contacts=[Contact(name=name)]))
        .contacts[0]
        .contact_id
    }


def update(contact_id: str, name: str) -> dict[str, Any]:
    contacts = Contacts(contacts=[Contact(name=name)])
    return {"name": accounting.update_contact(TENANT, contact_id, contacts).contacts[0].name}


def bill(reference: str) -> dict[str, Any]:
    line = LineItem(description="Rent", quantity=1, unit_amount=10)
    invoice = Invoice(type="ACCPAY", contact=Contact(name="Landlord"), line_items=[line], reference=reference)
    return {"id": accounting.create_invoices(TENANT, Invoices(invoices=[invoice])).invoices[0].invoice_id}


def upload(invoice_id: str, path: str) -> dict[str, Any]:
    content = Path(path).read_bytes()
    accounting.create_invoice_attachment_by_file_name(TENANT, invoice_id, "file.bin", content)
    return digest(content)


def download(invoice_id: str) -> dict[str, Any]:
    path = accounting.get_invoice_attachment_by_file_name(TENANT, invoice_id, "file.bin", OCTETS)
    return digest(Path(path).read_bytes())


def connections() -> dict[str, Any]:
    return {"count": len(identity.get_connections())}


def refresh() -> dict[str, Any]:
    before = client.get_oauth2_token()["access_token"]
    client.refresh_oauth2_token()
    return {"changed": client.get_oauth2_token()["access_token"] != before}


def refusal(error: Exception) -> dict[str, Any] | None:
    if isinstance(error, ApiException):
        return {
            "status": error.status,
            "text": (error.body or b"").decode(),
            "limit": getattr(error, "rate_limit", None),
            "says": str(error),
        }
    return {"text": str(error)} if isinstance(error, HTTPError) else None


serve(
    {
        each.__name__: each
        for each in (page, where, create, update, bill, upload, download, connections, refresh)
    },
    refusal,
)
