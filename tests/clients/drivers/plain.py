"""The steps of the clients that only speak HTTP: requests and httpx, whose sessions are used alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.clients.drivers.protocol import Step, digest

OCTETS = {"Content-Type": "application/octet-stream"}
SPELLINGS = ("/connections", "/Connections")


class Plain:
    """`send(method, path, **arguments)` is the library's call, and raises for an error status."""

    def __init__(self, send: Callable[..., Any], token: Callable[[], str]) -> None:
        self._send = send
        self._token = token

    def page(self, number: str) -> dict[str, Any]:
        return {"count": len(self._contacts(params={"page": number}))}

    def where(self, condition: str) -> dict[str, Any]:
        return {"count": len(self._contacts(params={"where": condition}))}

    def create(self, name: str) -> dict[str, Any]:
        return {"id": self._save("PUT", "Contacts", {"Name": name})["ContactID"]}

    def update(self, contact_id: str, name: str) -> dict[str, Any]:
        return {"name": self._save("POST", f"Contacts/{contact_id}", {"Name": name})["Name"]}

    def bill(self, reference: str) -> dict[str, Any]:
        line = {"Description": "Rent", "Quantity": 1, "UnitAmount": 10}
        contact = {"Name": "Landlord"}
        invoice = {"Type": "ACCPAY", "Contact": contact, "LineItems": [line], "Reference": reference}
        return {"id": self._save("PUT", "Invoices", invoice)["InvoiceID"]}

    def upload(self, invoice_id: str, path: str) -> dict[str, Any]:
        content = Path(path).read_bytes()
        self._send("PUT", _file(invoice_id), data=content, headers=OCTETS)
        return digest(content)

    def download(self, invoice_id: str) -> dict[str, Any]:
        return digest(self._send("GET", _file(invoice_id)).content)

    def connections(self) -> dict[str, Any]:
        return {"count": min(len(self._send("GET", path).json()) for path in SPELLINGS)}

    def refresh(self) -> dict[str, Any]:
        return {"changed": bool(self._token())}

    def steps(self) -> dict[str, Step]:
        names = ("page", "where", "create", "update", "bill", "upload", "download", "connections", "refresh")
        return {name: getattr(self, name) for name in names}

    def _contacts(self, **arguments: Any) -> list[Any]:
        contacts: list[Any] = self._send("GET", "/api.xro/2.0/Contacts", **arguments).json()["Contacts"]
        return contacts

    def _save(self, method: str, path: str, record: dict[str, Any]) -> dict[str, Any]:
        saved: dict[str, Any] = self._send(method, f"/api.xro/2.0/{path}", json=record).json()
        [element] = saved[path.split("/", maxsplit=1)[0]]
        return dict(element)


def _file(invoice_id: str) -> str:
    return f"/api.xro/2.0/Invoices/{invoice_id}/Attachments/file.bin"
