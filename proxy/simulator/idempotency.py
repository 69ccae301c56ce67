"""The cache behind `Idempotency-Key`.

Its scope is the app, not the organisation: the same key, method, URL and body at another
organisation gets the first one's answer, as at Xero. Errors are kept like successes. A duplicate that comes
while the first is in progress gets the answer that the first is about to get.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from proxy.simulator import answers
from proxy.simulator.answers import Answer, SimRequest

KEY_LIFE_SECONDS = 360.0
"""From the first call, whatever its outcome and however often it is repeated."""
LONGEST_KEY = 128
KEYED_METHODS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class _Kept:
    expires: float
    fingerprint: bytes
    answer: Answer


class KeyCache:
    """Answers by app and key. Times are seconds of the simulator's clock."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}

    def find(self, app: str, request: SimRequest, now: float) -> Answer | None:
        """The answer that the request's key decides: a kept one, or a refusal; None to execute."""
        key = key_of(request)
        if len(key) > LONGEST_KEY:
            return answers.KEY_TOO_LONG
        self._forget(now)
        kept = self._kept.get((app, key)) if key else None
        if kept is None:
            return None
        return kept.answer if kept.fingerprint == _fingerprint(request) else answers.key_reused(key)

    def keep(self, app: str, request: SimRequest, answer: Answer, now: float) -> None:
        """Keep the answer of a request that was executed, if it has a key."""
        if key := key_of(request):
            self._kept[app, key] = _Kept(now + KEY_LIFE_SECONDS, _fingerprint(request), answer)

    def _forget(self, now: float) -> None:
        """Every key lives equally long, so the oldest stand first."""
        while (oldest := next(iter(self._kept), None)) and self._kept[oldest].expires <= now:
            del self._kept[oldest]


def key_of(request: SimRequest) -> str:
    """The request's key, or an empty string where Xero looks for none (GET, DELETE)."""
    return request.header(b"idempotency-key") if request.method in KEYED_METHODS else ""


def _fingerprint(request: SimRequest) -> bytes:
    parts = (request.method.encode(), request.target.encode(), hashlib.sha256(request.body).digest())
    return b"\n".join(parts)
