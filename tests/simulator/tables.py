"""What the reference says of the simulator, as the simulator has it; cells are those of a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.simulator.accounting import RESOURCES
from proxy.simulator.control import CALLS, ORDERS
from proxy.simulator.faults import FAILURES

Rows = Iterator[tuple[str, ...]]


def controls() -> Rows:
    """Every control call."""
    yield "call", "does"
    yield from ((f"`{call}`", text) for call, text in CALLS.items())


def orders() -> Rows:
    """Every member of `POST /_simulator/faults`."""
    yield "member", "does"
    yield from ((f'`"{name}": {order.example}`', order.text) for name, order in ORDERS.items())


def failures() -> Rows:
    """Every kind of failure."""
    yield "kind", "the call fails", "executed", "what happens"
    yield from ((f"`{kind}`", each.place, each.executed, each.text) for kind, each in FAILURES.items())


def resources() -> Rows:
    """Every resource of the Accounting API."""
    yield "resource", "create", "update", "delete", "needs", "unique"
    for each in RESOURCES:
        can = each.can.split()
        update = "" if "POST/" not in can and "POST" not in can else "yes"
        delete = "yes" if any(word.startswith("DELETE") for word in can) else ""
        needs = ", ".join(f"`{name}`" for name in (*(("Type",) if each.types else ()), *each.needs))
        unique = f"`{each.key}`" if each.key else ""
        if each.unique_for:
            unique += f" of `{each.unique_for}`"
        yield f"`{each.plural}`", "yes" if "PUT" in can else "", update, delete, needs, unique
