"""Short ways to say a call, a Xero and its answer."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

from proxy.simulator.answers import Answer, SimRequest
from proxy.simulator.options import Options
from proxy.simulator.xero import Xero

API = "/api.xro/2.0"
REMAINING = (b"X-AppMinLimit-Remaining", b"X-MinLimit-Remaining", b"X-DayLimit-Remaining")


def make(seed: int = 0, **options: Any) -> Xero:
    return Xero(Options(**options), Random(seed))


def call(
    method: str = "GET",
    path: str = f"{API}/Organisation",
    value: object = None,
    *,
    tenant: str = "t1",
    token: str = "opaque",  # noqa: S107 - stands for any
    **headers: str,
) -> SimRequest:
    """A call as an SDK makes it; `headers` have underscores, and win."""
    fields = {"authorization": f"Bearer {token}", "xero-tenant-id": tenant, "accept": "application/json"}
    fields |= {name.replace("_", "-"): text for name, text in headers.items()}
    body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
    return SimRequest(method, path, tuple((n.encode(), v.encode()) for n, v in fields.items() if v), body)


def ask(xero: Xero, request: SimRequest, now: float = 0.0) -> Answer:
    """One call from arrival to end."""
    begun = xero.arrive(request, now)
    xero.finish(begun, begun.done_at)
    return begun.answer


def said(answer: Answer) -> Any:
    return json.loads(answer.body)


def field(answer: Answer, name: bytes) -> str | None:
    """A header field; the name must have the very case."""
    value = dict(answer.headers).get(name)
    return None if value is None else value.decode()


def bill(reference: str) -> dict[str, Any]:
    lines = [{"Description": "Paper", "Quantity": 3, "UnitAmount": 1.5, "TaxAmount": 0.45}]
    return {"Type": "ACCPAY", "Contact": {"Name": "Paper & Co"}, "Reference": reference, "LineItems": lines}


def jwt(**claims: object) -> str:
    """A token whose payload holds these claims."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.sig"


PUT_BILL = call("PUT", f"{API}/Invoices", bill("one"))
