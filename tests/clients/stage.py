"""Simulator, sidecar and one client's driver."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from proxy.simulator.answers import SimRequest
from proxy.simulator.ledger import Entry
from proxy.simulator.server import Simulator
from tests.clients.driver import TENANT, Driver, Told, driver
from tests.e2e.harness import Running, both

QUICK = {"retry_backoff_seconds": 0.1, "minute_window_seconds": 2, "offline_backoff_seconds": 1}


def assert_refused(client: str, told: Told, status: int) -> None:
    """One of the client's own errors, with the status, unless it is one that keeps the status to itself."""
    assert not told.ok, told
    assert not told.crashed, told
    hidden = client == "xero-mcp-server" and told.status is None
    assert hidden or told.status == status, told


class Stage(NamedTuple):
    """What a scenario plays on. `folder` is for files of its own."""

    client: str
    driver: Driver
    simulator: Simulator
    sidecar: Running
    folder: Path

    async def step(self, name: str, *arguments: object) -> Told:
        return await self.driver.step(name, *arguments)

    async def does(self, name: str, *arguments: object) -> dict[str, Any]:
        return await self.driver.does(name, *arguments)

    async def is_refused(self, status: int, name: str, *arguments: object) -> Told:
        """What the client says of a step that is answered so: one of its own errors, with that status."""
        told = await self.step(name, *arguments)
        assert_refused(self.client, told, status)
        return told

    def entries(self, path: str, *methods: str) -> list[Entry]:
        """What arrived at the simulator whose path, in whatever spelling, begins so."""
        found = [each for each in self.simulator.ledger.entries if each.path.lower().startswith(path.lower())]
        return [each for each in found if not methods or each.method in methods]

    def executed(self, path: str) -> int:
        """Writes to a path that were carried out."""
        return sum(each.executed for each in self.entries(path, "PUT", "POST"))

    def has_contacts(self, count: int) -> None:
        """Give the organisation so many contacts."""
        body = json.dumps({"Contacts": [{"Name": f"Contact {number}"} for number in range(count)]}).encode()
        headers = ((b"Authorization", b"Bearer opaque"), (b"Xero-Tenant-Id", TENANT.encode()))
        begun = self.simulator.xero.arrive(
            SimRequest("PUT", "/api.xro/2.0/Contacts", headers, body), self.simulator.now()
        )
        self.simulator.xero.finish(begun, self.simulator.now())
        assert begun.answer.status == 200


@contextlib.asynccontextmanager
async def stage(
    client: str, options: dict[str, Any] | None = None, **settings: object
) -> AsyncIterator[Stage]:
    """Set everything up; nothing may have crashed in the sidecar when it is taken down."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        window = {"window_seconds": 2.0, "known_tenants": (TENANT,), **(options or {})}
        async with both(window, **{**QUICK, **settings}) as (sidecar, simulator):
            url = f"http://127.0.0.1:{sidecar.car.port}"
            async with driver(client, url, folder) as process:
                yield Stage(client, process, simulator, sidecar, folder)
