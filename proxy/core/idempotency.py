"""The life of idempotency keys.

Xero keeps the answer to a key for six minutes from its first call, errors included. A write that may have
been executed is repeated only while its key is sure to be remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

KEY_LIFE_SECONDS = 300.0
"""A minute less than Xero's six, for a request that is long under way."""
KEY_BYTES = 16
LONGEST_KEY = 128
"""The most characters that Xero takes; a longer key protects nothing."""
KEYS_KEPT = 100_000
KEYED_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Methods for which Xero honours `Idempotency-Key`."""


def new_key(bits: bytes) -> bytes:
    """A key of the proxy's own from `KEY_BYTES` random bytes, so that no two ever meet."""
    return b"xero-proxy-" + bits.hex().encode()


class Keys:
    """When each key was first and last sent, for as long as Xero may remember it. Keys are kept as hashes."""

    def __init__(self) -> None:
        self._uses: dict[bytes, tuple[float, float]] = {}

    def first_used(self, app: str, key: bytes, now: float) -> float:
        """When `key`, which is sent now, was first sent for `app`; `now` if it never was or has rested so
        long that Xero has surely forgotten it.

        One that is used again and again keeps its first time: nobody knows when Xero began to count anew.
        """
        digest = blake2b(app.encode() + b"\0" + key, digest_size=16).digest()
        first, last = self._uses.pop(digest, (now, now))
        if now - last >= 2 * KEY_LIFE_SECONDS:
            first = now
        self._uses[digest] = (first, now)
        self._forget(now)
        return first

    def used_since(self, when: float) -> Iterator[tuple[bytes, float, float]]:
        """Hash, first and last use of all that were used at `when` or later, the latest first."""
        for digest, (first, last) in reversed(self._uses.items()):
            if last < when:
                return
            yield digest, first, last

    def restore(self, digest: bytes, first: float, last: float) -> None:
        """Take over what another process knew of a key; to be called in the order of the last uses."""
        self._uses[digest] = (first, last)

    def _forget(self, now: float) -> None:
        oldest = next(iter(self._uses))
        while len(self._uses) > KEYS_KEPT or now - self._uses[oldest][1] >= 2 * KEY_LIFE_SECONDS:
            del self._uses[oldest]
            oldest = next(iter(self._uses))
