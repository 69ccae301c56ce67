"""Connections that Xero no longer honours, until it does again.

An organisation's connection is gone when Xero says so of the organisation (`unauthorised`,
`wrong_tenant`), an app's when its refresh token is refused (`invalid_grant`). Nothing is stopped for that:
whoever connects again is served at once. It is only shown, because nobody but a person can mend it.

A loss of which nothing more is heard is forgotten: whoever still calls has needed another token by then, and
of an organisation that nobody calls any more, or that was only ever misspelt, no success will ever come.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from proxy.core.model import ConnectionView

CONNECTIONS_MAX = 1000
"""So many lost ones are shown; of more the one that was lost first is forgotten."""

LOST_SECONDS = 1800.0
"""How long a loss is shown after Xero's last word of it: as long as an access token lives."""


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
        self._lost: dict[tuple[str, str], tuple[str, float, float]] = {}

    def __len__(self) -> int:
        """How many are lost, those that are as good as forgotten among them."""
        return len(self._lost)

    def lost(self, app: str, tenant: str, reason: str, now: float) -> ConnectionChange | None:
        """Note that Xero refuses a connection, for `reason`; None where that is known."""
        self._forget(now)
        known, since, _ = self._lost.get((app, tenant), ("", now, now))
        self._lost[app, tenant] = (known or reason, since, now)
        if known:
            return None
        if len(self._lost) > CONNECTIONS_MAX:
            del self._lost[next(iter(self._lost))]
        return ConnectionChange(app, tenant, reason, lost=True)

    def works(self, app: str, tenant: str, sent_at: float) -> ConnectionChange | None:
        """Note that a call sent at `sent_at` was served; None where that changes nothing, because nothing was
        lost or the call is older than the loss.
        """
        reason, since, _ = self._lost.get((app, tenant), ("", inf, inf))
        if sent_at < since:
            return None
        del self._lost[app, tenant]
        return ConnectionChange(app, tenant, reason, lost=False)

    def view(self, now: float) -> tuple[ConnectionView, ...]:
        """All of them, the first lost first."""
        return tuple(
            ConnectionView(app, tenant, reason, max(0.0, now - since))
            for (app, tenant), (reason, since, last) in self._lost.items()
            if now < last + LOST_SECONDS
        )

    def _forget(self, now: float) -> None:
        self._lost = {key: lost for key, lost in self._lost.items() if now < lost[2] + LOST_SECONDS}
