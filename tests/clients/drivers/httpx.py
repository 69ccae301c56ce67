"""httpx."""

from __future__ import annotations

from typing import Any

import httpx

from tests.clients.drivers.plain import Plain
from tests.clients.drivers.protocol import serve, setup

example = setup()


def send(method: str, path: str, **arguments: Any) -> httpx.Response:
    if "data" in arguments:
        arguments["content"] = arguments.pop("data")
    response: httpx.Response = example["client"].request(method, path, **arguments)
    return response.raise_for_status()


def refusal(error: Exception) -> dict[str, Any] | None:
    if isinstance(error, httpx.HTTPStatusError):
        return {"status": error.response.status_code, "text": error.response.text}
    return {"text": str(error)} if isinstance(error, httpx.HTTPError) else None


serve(Plain(send, example["refresh"]).steps(), refusal)
