"""One request under way: where it goes, what its attempts have shown, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from proxy.core.answers.answers import Asked
from proxy.core.answers.idempotency import (
    KEY_BYTES,
    KEY_LIFE_SECONDS,
    KEYED_METHODS,
    LONGEST_KEY,
    Keys,
    new_key,
)
from proxy.core.answers.marks import without
from proxy.core.answers.retry import REPEATABLE, History, less_safe
from proxy.core.limits.decision import Ask, Permit
from proxy.core.line.lines import Ticket
from proxy.core.model import Execution, Headers, ResponseClass, Route, Terms
from proxy.core.wire.headers import overrides_of
from proxy.http.body import Body
from proxy.http.callers import Call
from proxy.observe.telemetry import Record

PROBES = frozenset({"GET", "HEAD"})
"""Methods that are preferred as a probe."""
LONGEST_WAIT_SECONDS = 3600.0
"""The most that `Prefer: wait` can ask for."""


class Job:
    """The state of one request between its stages; nothing here decides."""

    __slots__ = (
        "_headers",
        "_key",
        "_key_until",
        "_random_bits",
        "_retry_after_max",
        "body",
        "broke",
        "call",
        "deadline",
        "history",
        "permit",
        "record",
        "retry_after",
        "route",
        "sending",
        "shared_by",
        "ticket",
    )

    def __init__(
        self,
        call: Call,
        route: Route,
        terms: Terms,
        record: Record,
        max_wait: float,
        retry_after_max: float,
        random_bits: Callable[[int], bytes] | None,
    ) -> None:
        self.call = call
        self.route = route
        self.record = record
        self.body: Body | None = None
        self.retry_after: float | None = None
        self.permit: Permit | None = None
        """Until it is settled and somebody else sees to its release."""
        self.sending = False
        """Whether the permit's attempt may have left."""
        self.broke = False
        """Whether an attempt has failed in a way that counts against its organisation or API."""
        method = less_safe(call.method, (*terms.overrides, *overrides_of(call.target)))
        wait = max_wait if terms.wait is None else min(terms.wait, LONGEST_WAIT_SECONDS)
        self.deadline = record.arrived + wait
        self.ticket = Ticket(
            Ask.of(route.app, route.tenant, route.api),
            record.arrived,
            self.deadline,
            terms.urgency,
            method in PROBES,
            route.slow,
        )
        self.shared_by: Callable[[], int] | None = None
        """How many others want what this request is about to get, where it can be shared."""
        self._headers = terms.headers
        self._key = terms.key
        self._key_until = inf
        self._random_bits = random_bits
        self._retry_after_max = retry_after_max
        takes_key = method == call.method and method in KEYED_METHODS and route.keys
        own = takes_key and terms.key is None and random_bits is not None
        keyed = own or (takes_key and terms.key is not None and len(terms.key) <= LONGEST_KEY)
        self.history = History(method, keyed, own, tenant=route.tenant is not None)
        if own:
            self.renew_key()

    @property
    def asked(self) -> Asked:
        """What an answer of the proxy's own needs to know."""
        accept = self.call.fields.get(b"accept", b"")
        return Asked(self.record.id, accept, self._retry_after_max, self.history.unknown)

    def gone(self) -> bool:
        """True once nobody wants the answer: the caller can leave during any wait, and so can those who share
        the call.
        """
        return self.call.gone and not (self.shared_by and self.shared_by())

    def when_gone(self, callback: Callable[[], object]) -> None:
        """What to do when the caller leaves, unless others want the answer too; replaces what was to be done
        before.
        """
        self.call.on_gone = lambda: self.gone() and callback()

    def renew_key(self) -> None:
        """Choose a new `Idempotency-Key`: nothing was executed under the old one."""
        if self._random_bits is not None:
            self._key = new_key(self._random_bits(KEY_BYTES))
            self.history.key_used_at = None

    def heed_others(self, keys: Keys, elapsed: float) -> None:
        """Let the life of a caller's own key count from its first use by anybody."""
        history = self.history
        if self._key and not history.unknown:
            first = keys.seen(self.route.app, self._key, elapsed)
            if first is not None:
                history.send_by = min(history.send_by, first + KEY_LIFE_SECONDS)

    def use_key(self, keys: Keys, elapsed: float, now: float | None = None) -> None:
        """Note that the key is about to be sent."""
        history, first = self.history, elapsed
        if self._key and not history.own_key:
            self.heed_others(keys, elapsed)
            first = keys.first_used(self.route.app, self._key, elapsed, now)
        history.key_used_at = first if history.key_used_at is None else min(first, history.key_used_at)

    def ended(self, keys: Keys, row: ResponseClass) -> None:
        """Count an attempt that ended with `row`; one that came to nothing has not used the key."""
        history = self.history
        history.record(row, self.retry_after)
        nothing = row.execution in {Execution.NEVER_SENT, Execution.REJECTED} or (
            row.execution is Execution.DONE and not row.proves
        )
        if nothing and history.keyed and self._key and not history.unknown:
            history.key_used_at = None
            keys.unused(self.route.app, self._key)

    def headers(self) -> Headers:
        """The end-to-end fields of the next attempt."""
        if self.history.own_key and self._key:
            return (*self._headers, (b"Idempotency-Key", self._key))
        return self._headers

    def accept_no_coding(self) -> None:
        """Ask for an answer that everybody can read, whatever codings they know."""
        others = without(self._headers, b"accept-encoding")
        self._headers = (*others, (b"Accept-Encoding", b"identity"))

    def bound_by_key(self, now: float, elapsed: float) -> None:
        """Wait for no longer than the bytes may go."""
        ends = self.history.key_ends()
        if ends < inf:
            self._key_until = now + ends - elapsed
            self.ticket.deadline = min(self.deadline, self._key_until)

    def outlived_its_key(self, at: float) -> bool:
        """Whether it could be sent at `at` at the earliest, by when its key may be forgotten."""
        return at >= self._key_until

    def count_waits(self) -> None:
        """Add up in the record what was waited for, and which limit blocked longest."""
        waited = self.ticket.waited
        self.record.queue_seconds = sum(waited.values(), 0.0)
        self.record.limit = max(waited, key=lambda limit: waited[limit], default="")

    def left_at(self, stage: str) -> None:
        """The caller left while the request was in `stage`."""
        self.record.gone_at = stage

    @property
    def authorization(self) -> bytes | None:
        """The credentials that the caller sent."""
        return self.call.fields.get(b"authorization")

    @property
    def unknown(self) -> bool:
        """True where Xero may have executed a write and nobody knows."""
        return self.history.unknown and self.history.method not in REPEATABLE

    def close(self) -> None:
        """Let go of the body."""
        self.call.on_gone = None
        if self.body is not None:
            self.body.close()
