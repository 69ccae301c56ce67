"""requests."""

from __future__ import annotations

from typing import Any

import requests

from tests.clients.drivers.plain import Plain
from tests.clients.drivers.protocol import serve, setup

example = setup()


def send(method: str, path: str, **arguments: Any) -> requests.Response:
    response = example["session"].request(method, example["PROXY"] + path, **arguments)
    response.raise_for_status()
    return response


def refusal(error: Exception) -> dict[str, Any] | None:
    if isinstance(error, requests.HTTPError):
        return {"status": error.response.status_code, "text": error.response.text}
    return {"text": str(error)} if isinstance(error, requests.RequestException) else None


serve(Plain(send, example["refresh"]).steps(), refusal)
