"""What keeps limits and holds and shares the refreshes of tokens, as the settings ask; what reaches a disk or
a server is loaded only where it is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from config.settings import Settings
from proxy.clock import Clock
from proxy.core.answers.idempotency import Keys
from proxy.core.limits.accounts import Caps
from proxy.core.limits.holds import HoldTimes
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.stores import Store
from proxy.stores.memory import MemoryStore

if TYPE_CHECKING:
    from proxy.stores.claims import RedisClaims


def store(settings: Settings, clock: Clock, random: Random, keys: Keys, telemetry: StoreTelemetry) -> Store:
    """Memory, a file that follows it, or a server that is shared with others."""
    caps = Caps(
        minute=settings.tenant_minute_limit,
        minute_seconds=settings.minute_window_seconds,
        day=settings.tenant_day_limit,
        day_grows="tenant_day_limit" not in settings.given,
        concurrent=settings.tenant_concurrent_limit,
        app_minute=settings.app_minute_limit,
    )
    times = HoldTimes(
        offline=settings.offline_backoff_seconds,
        backoff=settings.retry_backoff_seconds,
        backoff_max=settings.retry_backoff_max_seconds,
    )
    if settings.state_file:
        from proxy.stores.sqlite import SqliteStore  # noqa: PLC0415 - the start of others is quicker

        path = Path(settings.state_file)
        return SqliteStore(caps, times, clock, random, path=path, keys=keys, telemetry=telemetry)
    if not settings.redis_url:
        return MemoryStore(caps, times, clock, random)
    from proxy.stores.redis import RedisStore  # noqa: PLC0415 - nobody else shall load a Redis client
    from proxy.stores.session import Server  # noqa: PLC0415 - as above

    return RedisStore(
        Server(settings.redis_url, settings.redis_timeout_seconds),
        caps,
        times,
        clock,
        random,
        telemetry,
        prefix=settings.redis_prefix,
        app_id=settings.redis_app_id,
    )


def claims(settings: Settings, clock: Clock, random: Random, telemetry: StoreTelemetry) -> RedisClaims | None:
    """None where there are no replicas to agree with."""
    if not settings.redis_url:
        return None
    from proxy.stores.claims import RedisClaims  # noqa: PLC0415 - nobody else shall load a Redis client

    namespace = f"{{{settings.redis_prefix}:{settings.redis_app_id}}}"  # as of the limits' keys
    return RedisClaims(settings.redis_url, namespace, clock, random, os.urandom, telemetry.error)
