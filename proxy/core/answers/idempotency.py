"""The life of idempotency keys.

Xero keeps the answer to a key for six minutes from its first call, errors included. A write that may have
been executed is repeated only while its key is sure to be remembered, and a key that others may have used
before is not sent at all once it may be forgotten. Times are seconds of `Clock.elapsed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from math import inf

KEY_LIFE_SECONDS = 300.0
"""A minute less than Xero's six, for a request that is long under way."""
UNSEEN_SECONDS = 420.0
"""After so long without having looked, whatever was used before is surely forgotten by Xero."""
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
    """When each key of the callers' was first and last sent, for as long as Xero may remember it. Keys are
    kept as hashes.

    A key that was used before it could be seen here may be old. Until `UNSEEN_SECONDS` after `since`, the
    moment of `Clock.now` from which all uses are seen (never, while others use keys unseen), one that is new
    here counts as used at `unseen_from`, the earliest moment of which nothing is known.
    """

    def __init__(self, since: float = -inf) -> None:
        self._uses: dict[bytes, tuple[float, float, bool]] = {}
        self._alone: set[bytes] = set()
        self._since = since
        self._unseen_from = -inf

    def first_used(self, app: str, key: bytes, now: float, up: float | None = None) -> float:
        """Note that `key` is about to be sent for `app`; when it may first have been used by anybody. `up` is
        the same moment on `Clock.now`, where that differs: a wall clock that is put forward is no time in
        which uses were seen.
        """
        digest = _digest(app, key)
        up = now if up is None else up
        used = self._uses.pop(digest, None)
        if used is None or now - used[1] >= 2 * KEY_LIFE_SECONDS:
            used = (now, now, up < self._since + UNSEEN_SECONDS)
            self._alone.add(digest)
        else:
            self._alone.discard(digest)
        first, _, doubtful = used
        self._uses[digest] = (first, now, doubtful)
        earliest = min(first, self._unseen_from) if doubtful else first
        self._forget(now, up)
        return earliest

    def unused(self, app: str, key: bytes) -> None:
        """The latest use came to nothing: never sent, or refused before the key was looked at. Where it was
        the only one, the key is as new.
        """
        digest = _digest(app, key)
        if digest in self._alone:
            self._alone.discard(digest)
            self._uses.pop(digest, None)

    def seen(self, app: str, key: bytes, now: float) -> float | None:
        """When `key` was first sent as far as is known; None where it was not, or has rested so long that
        Xero has surely forgotten it.

        One that is used again and again keeps its first time: nobody knows when Xero began to count anew.
        """
        used = self._uses.get(_digest(app, key))
        return None if used is None or now - used[1] >= 2 * KEY_LIFE_SECONDS else used[0]

    def used_since(self, when: float) -> Iterator[tuple[bytes, float, float]]:
        """Hash, first and last use of all that were used at `when` or later, the latest first."""
        for digest, (first, last, _) in reversed(self._uses.items()):
            if last < when:
                return
            yield digest, first, last

    def restore(self, digest: bytes, first: float, last: float) -> None:
        """Take over what another process knew of a key; to be called in the order of the last uses."""
        self._uses[digest] = (first, last, False)

    def restored(self, until: float) -> None:
        """What was taken over is all that happened before `until`."""
        self._unseen_from = until

    def _forget(self, now: float, up: float) -> None:
        oldest = next(iter(self._uses))
        while len(self._uses) > KEYS_KEPT or now - self._uses[oldest][1] >= 2 * KEY_LIFE_SECONDS:
            first, last, _ = self._uses.pop(oldest)
            self._alone.discard(oldest)
            if now - last < UNSEEN_SECONDS:  # its next use will look like a first one
                unseen = up >= self._since + UNSEEN_SECONDS
                self._unseen_from = first if unseen else min(self._unseen_from, first)
                self._since = max(self._since, up)
            oldest = next(iter(self._uses))


def _digest(app: str, key: bytes) -> bytes:
    return blake2b(app.encode() + b"\0" + key, digest_size=16).digest()
