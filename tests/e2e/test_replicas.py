"""Two sidecars as processes share one server. Long load and faults are in tests/replicas."""

from __future__ import annotations

import asyncio
import sys

from tests import servers
from tests.replicas.fleet import CONCURRENT, MINUTE, Load, replica, xero

WINDOW, CALLS = 1.5, 40


async def test_two_replicas_stay_within_the_limits_while_their_server_comes_and_goes() -> None:
    load = Load()
    with servers.valkey_server() as shared:
        async with (
            xero(WINDOW) as world,
            replica(world.url, shared.url, WINDOW, redis_timeout_seconds=2) as one,
            replica(world.url, shared.url, WINDOW, redis_timeout_seconds=2) as other,
        ):
            both = {"one": one, "other": other}
            await asyncio.gather(*(load.backlog(name, each, CALLS) for name, each in both.items()))
            for each in both.values():
                assert (await each.status())["store"] == {
                    "kind": "redis",
                    "up": True,
                    "trouble": "",
                    "replicas": 2,
                }
                assert (
                    await each.count("store_operations_total", operation="acquire", outcome="granted")
                    == CALLS
                )
                assert await each.count("store_replicas") == 2
            shared.stop()
            for each in both.values():
                assert (await each.logged("store_away"))[0]["reason"] == "lost"
                assert await each.count("store_up", kind="redis") == 0
            await asyncio.gather(*(load.backlog(name, each, 5) for name, each in both.items()))
            shared.start()
            for each in both.values():
                assert (await each.logged("store_back"))[0]["seconds"] > 0
                assert await each.count("store_up", kind="redis") == 1
            seen = (await world.ask())["tenants"]["t1"]
        assert load.answered == {200: 2 * CALLS + 2 * 5}
        assert seen["peak_rolling"] <= MINUTE
        assert seen["peak_concurrent"] <= CONCURRENT


async def test_a_redis_client_is_loaded_only_where_there_is_a_redis() -> None:
    code = "import sys, proxy.app; sys.exit('redis' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
