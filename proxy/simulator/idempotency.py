"""The cache behind `Idempotency-Key`.

Its scope is the app, not the organisation: the same key, method, URL and body at another
organisation gets the first one's answer, as at Xero. Errors are kept like successes. A duplicate that comes
while the first is in progress waits for it and gets its answer. Xero documents keys for the writes of all its
APIs but Practice Manager's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from proxy.simulator import answers
from proxy.simulator.answers import Answer, SimRequest

KEY_LIFE_SECONDS = 360.0
"""From the first call, whatever its outcome and however often it is repeated."""
LONGEST_KEY = 128
KEYED_METHODS = frozenset({"POST", "PUT", "PATCH"})
UNKEYED = "/practicemanager/"


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer under a key, and when it is complete; the times are those of the simulator's clock."""

    expires: float
    fingerprint: bytes
    answer: Answer
    complete_at: float


class KeyCache:
    """Answers by app and key. Times are seconds of the simulator's clock."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Kept] = {}

    def find(self, app: str, request: SimRequest, now: float) -> Kept | None:
        """The answer that the request's key decides: a kept one, or a refusal; None to execute."""
        key = key_of(request)
        if len(key) > LONGEST_KEY:
            return Kept(now, b"", answers.KEY_TOO_LONG, now)
        self._forget(now)
        kept = self._kept.get((app, key)) if key else None
        if kept is None:
            return None
        if kept.fingerprint != _fingerprint(request):
            return Kept(now, b"", answers.key_reused(key), now)
        return kept

    def keep(self, app: str, request: SimRequest, answer: Answer, now: float) -> None:
        """Keep the answer of a request that was executed, if it has a key."""
        if key := key_of(request):
            self._kept[app, key] = Kept(now + KEY_LIFE_SECONDS, _fingerprint(request), answer, now)

    def complete(self, app: str, request: SimRequest, at: float) -> None:
        """The answer that is kept for this request is complete at that time: repeats wait until then."""
        if kept := self._kept.get((app, key_of(request))):
            self._kept[app, key_of(request)] = replace(kept, complete_at=at)

    def _forget(self, now: float) -> None:
        """Every key lives equally long, so the oldest stand first."""
        while (oldest := next(iter(self._kept), None)) and self._kept[oldest].expires <= now:
            del self._kept[oldest]


def key_of(request: SimRequest) -> str:
    """The request's key, or an empty string where Xero looks for none (GET, DELETE, Practice Manager)."""
    if request.method not in KEYED_METHODS or request.path.lower().startswith(UNKEYED):
        return ""
    return request.header(b"idempotency-key")


def _fingerprint(request: SimRequest) -> bytes:
    parts = (request.method.encode(), request.target.encode(), hashlib.sha256(request.body).digest())
    return b"\n".join(parts)
