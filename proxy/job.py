"""One request under way: where it goes, what its attempts have shown, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable

from proxy.body import Body
from proxy.call import Call
from proxy.core.answers import Asked
from proxy.core.idempotency import KEY_BYTES, KEYED_METHODS, LONGEST_KEY, Keys, new_key
from proxy.core.limits import Ask
from proxy.core.lines import Ticket
from proxy.core.marks import without
from proxy.core.model import Headers, Host, Route, Terms
from proxy.core.retry import REPEATABLE, History
from proxy.telemetry import Record

SAFE = frozenset({"GET", "HEAD"})
"""Methods that are preferred as a probe."""
LONGEST_WAIT_SECONDS = 3600.0
"""The most that `Prefer: wait` can ask for."""


class Job:
    """The state of one request between its stages; nothing here decides."""

    __slots__ = (
        "_headers",
        "_key",
        "_random_bits",
        "_retry_after_max",
        "body",
        "call",
        "deadline",
        "history",
        "record",
        "retry_after",
        "route",
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
        wait = max_wait if terms.wait is None else min(terms.wait, LONGEST_WAIT_SECONDS)
        self.deadline = record.arrived + wait
        self.ticket = Ticket(
            Ask.of(route.app, route.tenant, route.api),
            record.arrived,
            self.deadline,
            terms.urgency,
            call.method in SAFE,
        )
        self.shared_by: Callable[[], int] | None = None
        """How many others want what this request is about to get, where it can be shared."""
        self._headers = terms.headers
        self._key = terms.key
        self._random_bits = random_bits
        self._retry_after_max = retry_after_max
        takes_key = call.method in KEYED_METHODS and route.host is Host.API
        own = takes_key and terms.key is None and random_bits is not None
        keyed = own or (terms.key is not None and 0 < len(terms.key) <= LONGEST_KEY)
        self.history = History(call.method, keyed, own, tenant=route.tenant is not None)
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

    def use_key(self, keys: Keys, now: float) -> None:
        """Note that the key is sent now; the life of a caller's own key began when it was first seen."""
        if not self._key:
            return
        if not self.history.own_key:
            self.history.key_used_at = keys.first_used(self.route.app, self._key, now)
        elif self.history.key_used_at is None:
            self.history.key_used_at = now

    def headers(self) -> Headers:
        """The end-to-end fields of the next attempt."""
        if self.history.own_key and self._key:
            return (*self._headers, (b"Idempotency-Key", self._key))
        return self._headers

    def accept_no_coding(self) -> None:
        """Ask for an answer that everybody can read, whatever codings they know."""
        others = without(self._headers, b"accept-encoding")
        self._headers = (*others, (b"Accept-Encoding", b"identity"))

    def bound_by_key(self) -> None:
        """A write that may have been executed is repeated only inside its key's life."""
        ends = self.history.key_ends()
        if ends is not None:
            self.ticket.deadline = min(self.deadline, ends)

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
        return self.history.unknown and self.call.method not in REPEATABLE

    def close(self) -> None:
        """Let go of the body."""
        self.call.on_gone = None
        if self.body is not None:
            self.body.close()
