"""Who refreshes a token, among all replicas, on a Redis or Valkey server.

A replica claims a refresh before it makes the call, and renews its claim until it has the answer; when it
dies the claim lapses and another one takes it over. The others ask again and again until the answer is there
or the claim is theirs: a refresh is rare and lasts a fraction of a second, so they poll. Where the server
cannot be asked each replica goes by itself: Xero honours a spent token for half an hour.

The server holds nothing that is of use to whoever reads it or its dumps: the key is a hash, and the answer is
encrypted under a key derived from the refresh token and the client's secret, which only those have who ask
for that very refresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from random import Random
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import RedisError

from proxy.clock import Clock
from proxy.core.tokens.request import refresh_key
from proxy.stores.link import reason_of

LEASE_SECONDS = 10.0
"""A claim lapses so long after its owner was last heard of; it outlasts a renewal that the server missed."""
RENEW_SECONDS = 1.0
POLL_SECONDS = 0.3
PATIENCE_SECONDS = 3.0
"""For the server to connect and to answer: more than a decision about limits may take, since a token that is
refreshed twice costs more than the wait.
"""
AWAY_SECONDS = 3.0
"""A server that did not answer is not asked for so long."""
CLOSE_SECONDS = 1.0
CONNECTIONS_MAX = 4
NONCE_BYTES = 12

# One key holds the claim ("C" and its owner) or the answer ("A" and the sealed bytes), and ends by the
# server's clock. The first answer stays: whoever lost its claim has refreshed too, and either is good. A
# token that was revoked has a key of its own.
_SCRIPT = """
local held = redis.call('GET', KEYS[1])
local mine = held == 'C' .. ARGV[2]
if ARGV[1] == 'claim' then
  if held and not mine then
    return string.sub(held, 1, 1) == 'A' and string.sub(held, 2) or 0
  end
  redis.call('SET', KEYS[1], 'C' .. ARGV[2], 'PX', ARGV[3])
  return 1
elseif ARGV[1] == 'answer' then
  if held and string.sub(held, 1, 1) == 'A' then return 0 end
  redis.call('SET', KEYS[1], 'A' .. ARGV[4], 'PX', ARGV[3])
  return 1
elseif ARGV[1] == 'revoke' then
  redis.call('SET', KEYS[1], '', 'PX', ARGV[3])
  return 1
elseif ARGV[1] == 'revoked' then
  return redis.call('EXISTS', KEYS[1])
end
return mine and redis.call('DEL', KEYS[1]) or 0
"""
_HELD, _MINE = 0, 1


class RedisClaims:
    """`proxy.stores.Claims` on the server at `url`. Keys begin with `prefix`; `random_bits` gives as many
    bytes as it is asked for. `failed` is told why there was no answer, in a word.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        clock: Clock,
        random: Random,
        random_bits: Callable[[int], bytes],
        failed: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._failed = failed
        self._url = url
        self._client: Redis | None = None
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._away_until = -inf
        self._prefix = prefix
        self._clock = clock
        self._random = random
        self._random_bits = random_bits
        self._claims: dict[bytes, tuple[str, asyncio.Task[None]]] = {}
        self._telling: set[asyncio.Task[Any]] = set()

    async def claim(self, secret: bytes) -> bytes | None:
        """Wait for the answer that another replica gets; None where the refresh is this replica's to make."""
        owner = self._random_bits(16).hex()
        while (reply := await self._run(secret, "claim", owner)) == _HELD:
            await self._pause(POLL_SECONDS * (0.5 + self._random.random()))
        if reply == _MINE:
            self._claims[secret] = (owner, asyncio.create_task(self._renew(secret, owner)))
        return _opened(secret, reply) if isinstance(reply, bytes) else None

    def conclude(self, secret: bytes, answer: bytes | None, seconds: float) -> None:
        """Give the answer to the others for `seconds`, or let them try where there is none. Does nothing
        where the claim is not this replica's.
        """
        owner, renewing = self._claims.pop(secret, ("", None))
        if renewing is None:
            return
        renewing.cancel()
        if answer is None:
            telling = self._run(secret, "release", owner)
        else:
            sealed = _sealed(secret, answer, self._random_bits(NONCE_BYTES))
            telling = self._run(secret, "answer", owner, seconds, sealed)
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def revoke(self, name: bytes, seconds: float) -> None:
        """Let all know for `seconds` that the token of this name is revoked."""
        await self._run_on(f"revoked:{name.hex()}", "revoke", "", seconds)

    async def revoked(self, name: bytes) -> bool:
        """Whether anybody said so; False where the server cannot be asked."""
        return await self._run_on(f"revoked:{name.hex()}", "revoked", "") == 1

    async def close(self) -> None:
        """Leave the server after it has heard what was concluded."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=CLOSE_SECONDS)
        for secret in list(self._claims):
            self._claims.pop(secret)[1].cancel()
        if self._client is not None:
            await self._client.aclose()

    async def _renew(self, secret: bytes, owner: str) -> None:
        while True:
            await self._pause(RENEW_SECONDS)
            await self._run(secret, "claim", owner)

    async def _pause(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.now() + seconds)

    def _connected(self) -> Redis:
        if self._client is None:
            self._client = Redis.from_url(
                self._url,
                socket_timeout=PATIENCE_SECONDS,
                socket_connect_timeout=PATIENCE_SECONDS,
                retry=Retry(NoBackoff(), 1, (Unconnected,)),  # a connection that ended while it was idle
            )
        return self._client

    async def _run(
        self, secret: bytes, what: str, owner: str, seconds: float | None = None, sealed: bytes = b""
    ) -> int | bytes | None:
        """What the script says of a refresh; None where nobody answers."""
        return await self._run_on(f"refresh:{refresh_key(secret).hex()}", what, owner, seconds, sealed)

    async def _run_on(
        self, name: str, what: str, owner: str, seconds: float | None = None, sealed: bytes = b""
    ) -> int | bytes | None:
        milliseconds = int((LEASE_SECONDS if seconds is None else seconds) * 1000)
        key = f"{self._prefix}:{name}"
        async with self._room:
            if self._clock.now() < self._away_until:
                return None
            try:
                reply = await self._connected().eval(_SCRIPT, 1, key, what, owner, milliseconds, sealed)
            except (
                RedisError,
                OSError,
                TypeError,
                ValueError,
            ) as error:  # the last two where the URL is none such
                self._failed(reason_of(error, "unreachable"))
                self._away_until = self._clock.now() + AWAY_SECONDS
                return None
        return reply if isinstance(reply, int | bytes) else None


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(HKDFExpand(SHA256(), 32, b"xero-proxy answer to a refresh").derive(secret))


def _sealed(secret: bytes, answer: bytes, nonce: bytes) -> bytes:
    return nonce + _cipher(secret).encrypt(nonce, answer, refresh_key(secret))


def _opened(secret: bytes, sealed: bytes) -> bytes | None:
    """None where it was not sealed by somebody who has `secret`."""
    try:
        return _cipher(secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], refresh_key(secret))
    except (InvalidTag, ValueError):
        return None
