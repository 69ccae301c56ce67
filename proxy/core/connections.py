"""Connections that Xero no longer honours, until it does again.

An organisation's connection is gone when Xero says so of the organisation (`unauthorised`,
`wrong_tenant`), an app's when its refresh token is refused (`invalid_grant`). Nothing is stopped for that:
whoever connects again is served at once. It is only shown, because nobody but a person can mend it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from proxy.core.model import ConnectionView

CONNECTIONS_MAX = 1000
"""So many lost ones are shown; of more the one that was lost first is forgotten."""


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """A connection was found lost, or was found to work again. `tenant` is empty where it is an app's."""

    app: str
    tenant: str
    reason: str
    lost: bool


class Connections:
    """The connections that are lost."""

    def __init__(self) -> None:
        self._lost: dict[tuple[str, str], tuple[str, float]] = {}

    def lost(self, app: str, tenant: str, reason: str, now: float) -> ConnectionChange | None:
        """Note that Xero refuses a connection, for `reason`; None where that is known."""
        if (app, tenant) in self._lost:
            return None
        self._lost[app, tenant] = (reason, now)
        if len(self._lost) > CONNECTIONS_MAX:
            del self._lost[next(iter(self._lost))]
        return ConnectionChange(app, tenant, reason, lost=True)

    def works(self, app: str, tenant: str, sent_at: float) -> ConnectionChange | None:
        """Note that a call sent at `sent_at` was served; None where that changes nothing, because nothing was
        lost or the call is older than the loss.
        """
        reason, since = self._lost.get((app, tenant), ("", inf))
        if sent_at < since:
            return None
        del self._lost[app, tenant]
        return ConnectionChange(app, tenant, reason, lost=False)

    def view(self, now: float) -> tuple[ConnectionView, ...]:
        """All of them, the first lost first."""
        return tuple(
            ConnectionView(app, tenant, reason, max(0.0, now - since))
            for (app, tenant), (reason, since) in self._lost.items()
        )
