"""Who keeps failing: an organisation in its use of an API, or the API for everybody.

Failures are of requests, not of attempts: what is repeated counts once. One organisation's failures say
nothing of the others, so an API fails only where several organisations do, with no good answer of anybody's
between.
"""

from __future__ import annotations

from collections import defaultdict

from proxy.core.model import HoldKey

BREAKER_FAILURES = 5
"""So many failures with no success between them are too many."""
MOST_OF_ONE = 3
"""So many of an API's at most may be of one organisation."""
SEVERAL = 3
"""So many organisations fail because the API does."""
CALLED_SECONDS = 60.0
"""Or fewer, where nobody else called in it for so long."""
COUNTED_MOST = 10_000
"""Beyond so many counts all begin anew."""


class Breaker:
    """Counts failures. Organisations are known by the key of the hold that stops their use of one API."""

    def __init__(self) -> None:
        self._own: dict[HoldKey, int] = {}
        """Failures of each organisation since its last good answer."""
        self._all: dict[str, dict[HoldKey, int]] = {}
        """Failures in each API since anybody's last good answer."""
        self._called: dict[str, list[tuple[HoldKey, float]]] = defaultdict(list)
        """The last three who called in each API and when each was answered, the latest last."""

    def called(self, one: HoldKey, now: float) -> None:
        """An organisation was answered."""
        latest = self._called[one.api]
        for place, (known, _) in enumerate(latest):
            if known == one:
                del latest[place]
                break
        latest.append((one, now))
        if len(latest) > SEVERAL:
            del latest[0]

    def succeeded(self, one: HoldKey) -> None:
        """With a good answer."""
        if self._own or self._all:
            self._own.pop(one, None)
            self._all.pop(one.api, None)

    def failed(self, one: HoldKey) -> bool:
        """Count a failure of one organisation; whether those are too many."""
        if one not in self._own and len(self._own) >= COUNTED_MOST:
            self._own.clear()
        self._own[one] = self._own.get(one, 0) + 1
        if self._own[one] < BREAKER_FAILURES:
            return False
        del self._own[one]
        return True

    def failed_all(self, one: HoldKey, now: float) -> bool:
        """Count it for its API too; whether everybody's are too many, and of so many that the API fails."""
        failing = self._all.setdefault(one.api, {})
        failing[one] = min(MOST_OF_ONE, failing.get(one, 0) + 1)
        if sum(failing.values()) < BREAKER_FAILURES or not self._several(one.api, failing, now):
            return False
        del self._all[one.api]
        return True

    def forgive(self, key: HoldKey) -> None:
        """Begin anew with what a hold was about."""
        self._own.pop(key, None)
        if not key.tenant and not key.app:
            self._all.pop(key.api, None)

    def _several(self, api: str, failing: dict[HoldKey, int], now: float) -> bool:
        if len(failing) >= SEVERAL:
            return True
        latest = {one for one, at in self._called[api] if now - at < CALLED_SECONDS}
        return len(latest) > 1 and latest <= failing.keys()
