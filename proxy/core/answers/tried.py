"""What has been tried of one request, and how long its idempotency key allows more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from proxy.core.answers.idempotency import (
    KEY_BYTES,
    KEY_LIFE_SECONDS,
    KEYED_METHODS,
    LONGEST_KEY,
    Keys,
    new_key,
)
from proxy.core.answers.marks import without
from proxy.core.model import REPEATABLE, Execution, Headers, Request, ResponseClass, Scope

DOUBTFUL = frozenset({Execution.UNKNOWN, Execution.CACHED})
"""What may have been executed."""


@dataclass(slots=True, eq=False)
class Tried:
    """The attempts at one request. `attempts` counts the permits that it used, `sends` how often bytes left,
    `failures` the sends that failed with no hold to explain it, `doubts` those that may have been executed;
    `broke` says whether one failed in a way that counts against its organisation or API.

    `keyed` is True where `key` protects it, `key_used_at` when that may first have been sent by anybody,
    `own_key` whether the proxy chose it. Nothing at all is sent from `send_by` on: somebody used the key
    before, and what Xero remembers of that is soon forgotten. Both are seconds of `Clock.elapsed`;
    `key_until` is on the clock's scale.

    `waited` holds the seconds spent on each limit or hold that blocked it. `received` is the status of Xero's
    last answer, `detail` what went wrong with the last attempt.
    """

    request: Request
    key: bytes | None = None
    keyed: bool = False
    own_key: bool = False
    headers: Headers = ()
    key_used_at: float | None = None
    send_by: float = inf
    key_until: float = inf
    attempts: int = 0
    sends: int = 0
    failures: int = 0
    doubts: int = 0
    broke: bool = False
    waited: dict[str, float] = field(default_factory=dict)
    upstream_seconds: float = 0.0
    received: int | None = None
    correlation_id: str = ""
    detail: str = ""

    @property
    def doubtful(self) -> bool:
        """True once an attempt may have been executed."""
        return self.doubts > 0

    @property
    def unknown(self) -> bool:
        """True where Xero may have executed a write and nobody knows."""
        return self.doubts > 0 and self.request.counts_as not in REPEATABLE

    def record(self, row: ResponseClass, retry_after: float | None = None) -> None:
        """Count an attempt that ended with `row`; `retry_after` is the response's, in seconds."""
        sent = row.execution is not Execution.NEVER_SENT
        self.attempts += 1
        self.sends += sent
        self.failures += sent and not self.held(row, retry_after)
        self.told(row)
        self.broke |= row.breaks

    def told(self, row: ResponseClass) -> None:
        """Note what became of an attempt that another request made for this one too."""
        self.doubts += row.execution in DOUBTFUL

    def held(self, row: ResponseClass, retry_after: float | None) -> bool:
        """Whether the response holds a scope of this request, so that the line waits for all of it."""
        if row.hold is None or (row.hold.scope is Scope.TENANT and self.request.route.tenant is None):
            return False
        return row.hold.seconds != "retry_after" or retry_after is not None

    def proved(self, row: ResponseClass) -> bool:
        """Whether an answer says what became of the request: any to the first attempt that may have been
        executed, and after one that only what Xero says under the same key.
        """
        return row.proves or self.doubts == (row.execution in DOUBTFUL)

    def key_ends(self) -> float:
        """When the bytes of the next attempt must have gone: never before where nothing bounds it."""
        if self.request.counts_as in REPEATABLE:
            return inf
        if not self.doubtful:
            return self.send_by
        if not self.keyed or self.key_used_at is None:
            return -inf
        return min(self.send_by, self.key_used_at + KEY_LIFE_SECONDS)

    def bound_by_key(self, now: float, elapsed: float) -> float:
        """When no byte may go any more, on the clock's scale, where the time is `now` (`elapsed` on that of
        keys).
        """
        ends = self.key_ends()
        if ends < inf:
            self.key_until = now + ends - elapsed
        return self.key_until

    def renew_key(self, bits: bytes) -> None:
        """Take a new key of the proxy's own: nothing was executed under the old one."""
        self.key = new_key(bits)
        self.headers = (*without(self.headers, b"idempotency-key"), (b"Idempotency-Key", self.key))
        self.key_used_at = None

    def heed_others(self, keys: Keys, elapsed: float) -> None:
        """Let the life of a caller's own key count from its first use by anybody."""
        if self.key and not self.doubtful:
            first = keys.seen(self.request.route.app, self.key, elapsed)
            if first is not None:
                self.send_by = min(self.send_by, first + KEY_LIFE_SECONDS)

    def use_key(self, keys: Keys, elapsed: float, now: float | None = None) -> None:
        """Note that the key is about to be sent."""
        first = elapsed
        if self.key and not self.own_key:
            self.heed_others(keys, elapsed)
            first = keys.first_used(self.request.route.app, self.key, elapsed, now)
        self.key_used_at = first if self.key_used_at is None else min(first, self.key_used_at)

    def leave_key(self, keys: Keys, row: ResponseClass) -> None:
        """After an attempt that ended with `row`: one that came to nothing has not used the key."""
        nothing = row.execution in {Execution.NEVER_SENT, Execution.REJECTED} or (
            row.execution is Execution.DONE and not row.proves
        )
        if nothing and self.keyed and self.key and not self.doubtful:
            self.key_used_at = None
            keys.unused(self.request.route.app, self.key)

    def accept_no_coding(self) -> None:
        """Ask for an answer that everybody can read, whatever codings they know."""
        others = without(self.headers, b"accept-encoding")
        self.headers = (*others, (b"Accept-Encoding", b"identity"))

    def wait(self, what: str, seconds: float = 0.0) -> None:
        """Note so long a wait for `what`."""
        self.waited[what] = self.waited.get(what, 0.0) + seconds


def untried(request: Request, random_bits: Callable[[int], bytes] | None) -> Tried:
    """Nothing yet. Where the request needs a key and has none, it gets one from `random_bits`, if there are
    any.
    """
    method = request.method
    takes_key = method == request.counts_as and method in KEYED_METHODS and request.route.keys
    if takes_key and request.key is None and random_bits is not None:
        tried = Tried(request, keyed=True, own_key=True, headers=request.headers)
        tried.renew_key(random_bits(KEY_BYTES))
        return tried
    keyed = takes_key and request.key is not None and len(request.key) <= LONGEST_KEY
    return Tried(request, request.key, keyed, headers=request.headers)
