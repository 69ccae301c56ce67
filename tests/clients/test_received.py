"""What Xero receives from each client through the sidecar is what it receives without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from proxy.simulator.answers import SimRequest
from proxy.simulator.calls import Begun
from proxy.simulator.server import Simulator
from tests.clients.conformance import FRAMING
from tests.clients.driver import TENANT, driver
from tests.clients.matrix import CLIENTS
from tests.clients.openapi import BASE
from tests.e2e.harness import sidecar, xero

STEPS = (("connections",), ("page", 1), ("create", "Ada"), ("bill", "July"), ("refresh",))
KEY = b"idempotency-key"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came, without what belongs to the connection; tokens are blanked."""

    method: str
    target: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def keyed(self) -> bool:
        """Whether it has an idempotency key."""
        return KEY in {name.lower() for name, _ in self.fields}

    @property
    def writes(self) -> bool:
        return self.method in {"POST", "PUT"} and self.target.startswith(BASE)

    @property
    def sent(self) -> Received:
        """Without what the sidecar adds."""
        kept = tuple(field for field in self.fields if field[0].lower() != KEY)
        return replace(self, fields=kept)


def witness(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> list[Received]:
    """Every request that arrives at the simulator from now on."""
    received: list[Received] = []
    arrive = simulator.xero.arrive

    def seen(request: SimRequest, now: float) -> Begun:
        # The answer to a refresh may be for several callers: how one of them wants it coded is not passed on.
        token = request.path == "/connect/token"
        ignored = FRAMING | {b"host"} | ({b"accept-encoding"} if token else set())
        fields = (
            (name, b"-" if name.lower() == b"authorization" else value)
            for name, value in request.headers
            if name.lower() not in ignored
        )
        received.append(Received(request.method, request.target, tuple(sorted(fields)), request.body))
        return arrive(request, now)

    monkeypatch.setattr(simulator.xero, "arrive", seen)
    return received


async def drive(client: str, url: str, folder: Path) -> None:
    async with driver(client, url, folder) as process:
        for step in STEPS:
            await process.does(*step)


@pytest.mark.parametrize("client", CLIENTS)
async def test_xero_receives_what_the_client_sent(
    client: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """But for the key that writes are given."""
    async with (
        xero(known_tenants=(TENANT,)) as direct,
        xero(known_tenants=(TENANT,)) as upstream,
        sidecar(upstream.url) as car,
    ):
        plain, passed = witness(direct, monkeypatch), witness(upstream, monkeypatch)
        await drive(client, direct.url, tmp_path_factory.mktemp("direct"))
        await drive(client, f"http://127.0.0.1:{car.car.port}", tmp_path_factory.mktemp("through"))
    assert len(plain) >= len(STEPS)
    assert not any(each.keyed for each in plain)
    assert [each.sent for each in passed] == plain
    assert [each.keyed for each in passed] == [each.writes for each in passed]
