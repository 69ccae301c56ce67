"""Requests as they are before anything was tried of them, or after."""

from __future__ import annotations

from typing import Any

from proxy.core.answers.tried import Tried
from proxy.core.model import Host, Request, Route

ROUTE = Route(Host.API, "accounting", "app", "t1", limited=True, template="/x", keys=True)


def tried(method: str, route: Route = ROUTE, **known: Any) -> Tried:
    """What is `known` of a request with this method."""
    return Tried(Request("id", method, b"/x", route, method, 0.0, 120.0), **known)
