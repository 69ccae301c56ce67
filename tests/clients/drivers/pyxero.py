"""pyxero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oauthlib.oauth2 import OAuth2Error
from requests import RequestException
from xero.exceptions import XeroException

from tests.clients.drivers.protocol import digest, serve, setup

example = setup()
credentials, xero = example["credentials"], example["xero"]


def page(number: str) -> dict[str, Any]:
    return {"count": len(xero.contacts.filter(page=int(number)))}


def where(condition: str) -> dict[str, Any]:
    return {"count": len(xero.contacts.filter(raw=condition))}


def create(name: str) -> dict[str, Any]:
    return {"id": xero.contacts.put({"Name": name})[0]["ContactID"]}


def update(contact_id: str, name: str) -> dict[str, Any]:
    return {"name": xero.contacts.save({"ContactID": contact_id, "Name": name})[0]["Name"]}


def bill(reference: str) -> dict[str, Any]:
    line = {"Description": "Rent", "Quantity": 1, "UnitAmount": 10}
    invoice = {"Type": "ACCPAY", "Contact": {"Name": "Landlord"}, "LineItems": [line], "Reference": reference}
    return {"id": xero.invoices.put(invoice)[0]["InvoiceID"]}


def upload(invoice_id: str, path: str) -> dict[str, Any]:
    content = Path(path).read_bytes()
    xero.invoices.put_attachment_data(invoice_id, "file.bin", content, "application/octet-stream")
    return digest(content)


def download(invoice_id: str) -> dict[str, Any]:
    return digest(xero.invoices.get_attachment_data(invoice_id, "file.bin"))


def connections() -> dict[str, Any]:
    return {"count": len(credentials.get_tenants())}


def refresh() -> dict[str, Any]:
    before = credentials.token["access_token"]
    credentials.refresh()
    return {"changed": credentials.token["access_token"] != before}


def refusal(error: Exception) -> dict[str, Any] | None:
    if isinstance(error, XeroException):
        return {"status": error.response.status_code, "text": error.response.text, "says": str(error)}
    return {"text": str(error)} if isinstance(error, RequestException | OAuth2Error) else None


serve(
    {
        each.__name__: each
        for each in (page, where, create, update, bill, upload, download, connections, refresh)
    },
    refusal,
)
