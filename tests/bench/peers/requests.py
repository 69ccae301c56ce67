"""What every caller here sends: many organisations in turn, and a token as long as Xero's."""

from __future__ import annotations

import base64
import json

from tests.bench.peers import TENANTS


def token() -> str:
    """A bearer token that looks like Xero's, about as long, and names an app."""
    claims = {"client_id": "BENCH" + "0" * 27, "iss": "https://identity.xero.com", "jti": "x" * 600}
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "RS256", "typ": "JWT"}, claims)
    ]
    return ".".join((*encoded, "s" * 342))


def heads(method: str, path: str, body_bytes: int = 0) -> list[bytes]:
    """The head of a request of each organisation."""
    common = f"Host: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: Bearer {token()}\r\n"
    length = f"Content-Length: {body_bytes}\r\n" if body_bytes else ""
    tenants = (f"00000000-0000-4000-8000-{number:012d}" for number in range(1, TENANTS + 1))
    return [
        f"{method} {path} HTTP/1.1\r\n{common}Xero-Tenant-Id: {tenant}\r\n{length}\r\n".encode()
        for tenant in tenants
    ]


class BadAnswer(Exception):
    """An answer that was no success, or whose length is not stated."""


def content_length(head: bytes) -> int:
    """Bytes of the body that a successful answer announces. Raises `BadAnswer`."""
    status, *lines = head.split(b"\r\n")
    if b" 200 " not in status:
        raise BadAnswer(status.decode("latin-1"))
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise BadAnswer("no Content-Length")
