"""A scrape of a process that has more to do than it can."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

import aiohttp

from proxy.clock import Clock
from tests.e2e.harness import request, xero
from tests.e2e.test_process import Process, serving

ORGANISATIONS = 500
CONNECTIONS = 64
PIPELINED = 8


class Flood(asyncio.Protocol):
    """Keeps a connection full of requests that are refused at once, since the limit is spent."""

    def __init__(self, tenant: int) -> None:
        self._raw = call(tenant, b"Prefer: wait=0")
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._raw * PIPELINED)

    def data_received(self, data: bytes) -> None:
        answers = data.count(b"HTTP/1.1 429 ")
        self.refused += answers
        self._transport.write(self._raw * answers)

    def stop(self) -> None:
        self._transport.abort()


def call(tenant: int, *fields: bytes) -> bytes:
    return request(b"GET /api.xro/2.0/Contacts", b"Xero-Tenant-Id: t%d" % tenant, *fields)


async def use_up(process: Process) -> None:
    """One call of each organisation, which is all that its minute has."""
    for start in range(0, ORGANISATIONS, 50):
        await asyncio.gather(*(process.ask(call(tenant)) for tenant in range(start, start + 50)))


async def test_a_scrape_while_the_proxy_is_overloaded_answers_within_a_second() -> None:
    clock, loop = Clock(), asyncio.get_running_loop()
    async with xero() as simulator, serving(upstream=simulator.url, tenant_minute_limit=1) as process:
        await use_up(process)
        made = [
            await loop.create_connection(partial(Flood, tenant), "127.0.0.1", process.port)
            for tenant in range(CONNECTIONS)
        ]
        floods = [flood for _, flood in made]
        took = []
        async with aiohttp.ClientSession(f"http://127.0.0.1:{process.admin_port}") as client:
            for _ in range(5):
                before, began = sum(flood.refused for flood in floods), clock.now()
                async with client.get("/metrics") as response:
                    series = (await response.text()).count("\n")
                took.append(clock.now() - began)
                assert series > 2 * ORGANISATIONS
                assert sum(flood.refused for flood in floods) > before
        for flood in floods:
            flood.stop()
    assert max(took) < 1.0
