"""Which organisations are connected: what `/connections` lists and takes away.

All apps share them: an organisation that one app disconnects is disconnected for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import NAMESPACE_DNS, uuid5

from proxy.simulator.answers import NOT_FOUND, Answer, SimRequest, as_json
from proxy.simulator.wire import Record, iso_date

DEMO_TENANT = "b4ec4b0e-34d6-4a3f-9f5d-0e5a4b1c7d10"
"""The organisation that is listed when no other was ever named."""


class Connections:
    """Connected organisations, in the order of their connection."""

    def __init__(self, known: Iterable[str] | None, wall: float) -> None:
        self._open = known is None
        self._wall = wall
        self._tenants: dict[str, str] = {}
        self._disconnected: set[str] = set()
        for tenant in known or ():
            self._add(tenant)

    def admits(self, tenant: str) -> bool:
        """Whether a call for this organisation may pass; where any tenant exists, it is connected now."""
        if tenant in self._tenants:
            return True
        if not self._open or tenant in self._disconnected:
            return False
        self._add(tenant)
        return True

    def perform(self, request: SimRequest) -> Answer:
        """`GET /connections` (JSON whatever is asked for) and `DELETE /connections/{id}`."""
        if self._open and not self._tenants and not self._disconnected:
            self._add(DEMO_TENANT)
        match (request.method, request.path.rstrip("/").split("/")[2:]):
            case ("GET", []):
                return as_json(200, [self._described(tenant) for tenant in self._tenants])
            case ("DELETE", [wanted]):
                return self._disconnect(wanted)
            case _:
                return NOT_FOUND

    def _add(self, tenant: str) -> None:
        self._tenants[tenant] = str(uuid5(NAMESPACE_DNS, f"connection {tenant}"))

    def _disconnect(self, connection_id: str) -> Answer:
        tenant = next((t for t, i in self._tenants.items() if i == connection_id), None)
        if tenant is None:
            return NOT_FOUND
        del self._tenants[tenant]
        self._disconnected.add(tenant)
        return Answer(204)

    def _described(self, tenant: str) -> Record:
        made = f"{iso_date(self._wall)}.0000000"
        return {
            "id": self._tenants[tenant],
            "authEventId": str(uuid5(NAMESPACE_DNS, f"event {tenant}")),
            "tenantId": tenant,
            "tenantType": "ORGANISATION",
            "tenantName": f"Organisation {tenant[:8]}",
            "createdDateUtc": made,
            "updatedDateUtc": made,
        }
