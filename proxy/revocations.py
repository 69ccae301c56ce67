"""Tokens that somebody has revoked of late: no answer that gives or spends one is true any more.

They are known by hashes. Over Redis every replica knows them, as long as the server can be asked.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.clock import Clock
from proxy.core.remembered import Remembered
from proxy.stores import Claims

REVOKED_SECONDS = 600.0
"""Longer than any call that was under way then, and the time for which its answer is kept."""
REVOKED_MAX = 10_000


class Revocations:
    """Notes revocations, and says whether there was one."""

    def __init__(self, clock: Clock, claims: Claims | None) -> None:
        self._clock = clock
        self._claims = claims
        self._noted: Remembered[bool] = Remembered(REVOKED_MAX)

    async def note(self, names: Iterable[bytes]) -> None:
        """Somebody asks to revoke the tokens of these names; to be said before Xero is asked."""
        now = self._clock.now()
        self._noted.forget(now)
        for name in names:
            self._noted.keep(name, value=True, until=now + REVOKED_SECONDS)
            if self._claims is not None:
                await self._claims.revoke(name, REVOKED_SECONDS)

    async def any_of(self, names: Iterable[bytes]) -> bool:
        """Whether one of these was revoked of late."""
        for name in names:
            if self._noted.get(name, self._clock.now()):
                return True
            if self._claims is not None and await self._claims.revoked(name):
                return True
        return False
