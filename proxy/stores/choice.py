"""What shares the refreshes of tokens, as the settings ask; a client is loaded only where one is used."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

from config.settings import Settings
from proxy.clock import Clock

if TYPE_CHECKING:
    from proxy.stores.claims import RedisClaims


def claims(settings: Settings, clock: Clock, random: Random) -> RedisClaims | None:
    """None where there are no replicas to agree with."""
    if not settings.redis_url:
        return None
    from proxy.stores.claims import RedisClaims  # noqa: PLC0415 - nobody else shall load a Redis client

    prefix = f"{settings.redis_prefix}:{settings.redis_app_id}"
    return RedisClaims(settings.redis_url, prefix, clock, random, os.urandom)
