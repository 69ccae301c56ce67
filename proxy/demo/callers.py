"""The callers: plain HTTP clients that send what is planned and count what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.clock import Clock
from proxy.demo.load import ORGANISATIONS, PACE, PATIENCE_MINUTES, Planned
from proxy.demo.tally import Tally

NO_ANSWER = 0


class Callers:
    """Sends requests to the sidecar at `url`, each when it is due whatever became of the others.

    `scale` stretches the plan's times; `tallies` is by organisation.
    """

    def __init__(self, url: str, scale: float, clock: Clock) -> None:
        self.tallies = {organisation.name: Tally() for organisation in ORGANISATIONS}
        self._url = url
        self._scale = scale
        self._clock = clock
        self._stopped = False

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True

    async def run(self, plan: Sequence[Planned]) -> None:
        """Until everything is sent, or `stop`, and answered."""
        began = self._clock.now()
        # A connection for each request: on a used one aiohttp's client may send a request twice by itself.
        connector = TCPConnector(limit=0, force_close=True)
        async with (
            ClientSession(connector=connector, timeout=ClientTimeout(total=None)) as session,
            asyncio.TaskGroup() as group,
        ):
            for request in plan:
                await self._clock.sleep_until(began + request.at * self._scale)
                if self._stopped:
                    break
                group.create_task(self._send(session, request))

    async def _send(self, session: ClientSession, request: Planned) -> None:
        tally = self.tallies[request.organisation.name]
        tally.sent += 1
        tally.writes += bool(request.body)
        headers = {
            "Authorization": "Bearer demo",
            "Xero-Tenant-Id": request.organisation.name,
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        if request.urgent:
            headers["Priority"] = "u=0"
        if request.patient:
            headers["Prefer"] = f"wait={ceil(60 * PATIENCE_MINUTES / PACE * self._scale)}"
        status, fields = NO_ANSWER, {}
        try:
            async with session.request(
                request.method, self._url + request.target, data=request.body or None, headers=headers
            ) as response:
                await response.read()
                status, fields = response.status, dict(response.headers)
        except (ClientError, OSError):
            pass  # counted as no answer
        tally.ended(status, fields, urgent=request.urgent, interrupted=self._stopped)
