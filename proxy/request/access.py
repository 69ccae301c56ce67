"""What answers say about the right to call: tokens that have expired, and connections that are gone.

A token that Xero has just called expired is not tried again for a few seconds: it cannot become valid, and
a crowd of requests that all carry it would spend a call each on hearing so. The memory is about that very
value of `Authorization`, so a new token passes at once, and it is short, because Xero is the judge.

A connection that is gone is only shown: every request still goes to Xero, which may know better by now.
"""

from __future__ import annotations

from hashlib import blake2b

from proxy.clock import Clock
from proxy.core.answers.route import DEFAULT_APP
from proxy.core.model import Access, ConnectionView, Request, ResponseClass
from proxy.core.tokens.connections import ConnectionChange, Connections
from proxy.core.tokens.remembered import Remembered
from proxy.core.tokens.request import TokenRequest
from proxy.observe.telemetry import Telemetry

EXPIRED_SECONDS = 5.0
EXPIRED_MAX = 1000


class AccessMemory:
    """Learns from answers. Tokens are kept as hashes."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._expired: Remembered[bool] = Remembered(EXPIRED_MAX)
        self._connections = Connections()

    def view(self, now: float) -> tuple[ConnectionView, ...]:
        """The connections that are gone."""
        return self._connections.view(now)

    def expired(self, authorization: bytes | None) -> bool:
        """Whether Xero has just said so of this value of `Authorization`."""
        if not self._expired or authorization is None:
            return False
        return bool(self._expired.get(_hash(authorization), self._clock.now()))

    def learn(self, request: Request, row: ResponseClass, sent_at: float) -> None:
        """Take note of the answer to a call that was sent at `sent_at`."""
        if row.access is None and not self._connections:
            return
        route, authorization = request.route, request.authorization
        if row.access is Access.EXPIRED and authorization is not None:
            now = self._clock.now()
            self._expired.forget(now)
            self._expired.keep(_hash(authorization), value=True, until=now + EXPIRED_SECONDS)
        elif row.access is Access.DISCONNECTED and route.tenant is not None:
            self._changed(self._connections.lost(route.app, route.tenant, row.name, self._clock.now()))
        elif row.healthy and route.tenant is not None:
            for app in {route.app, DEFAULT_APP}:  # a token that names no app was refused for itself
                self._changed(self._connections.works(app, route.tenant, sent_at))

    def learn_of_client(self, asked: TokenRequest, row: ResponseClass, status: int, sent_at: float) -> None:
        """Take note of the token endpoint's answer to `asked`, sent at `sent_at`."""
        if not asked.connects:
            return
        if row.access is Access.DISCONNECTED and asked.refreshes:
            self._changed(self._connections.lost(asked.client, "", row.name, self._clock.now()))
        elif status < 300:
            self._changed(self._connections.works(asked.client, "", sent_at))

    def _changed(self, change: ConnectionChange | None) -> None:
        if change is not None:
            self._telemetry.connection_changed(change)


def _hash(authorization: bytes) -> bytes:
    return blake2b(authorization, digest_size=16).digest()
