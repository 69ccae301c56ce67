"""Limits as several replicas share them.

Signatures so far; see `LocalShare` for what a replica does that cannot reach the others.
"""

from __future__ import annotations

from proxy.core.limits import Ask, Denial, Limits, Permit

POLL_SECONDS = 1.0
"""Whoever was told no time to come back asks again after so long, whatever it hears."""
GRACE_SECONDS = 0.05
"""For so long a place is kept for the replica whose turn it is."""


class LocalShare:
    """What one of `replicas` that cannot reach each other may take of `limits`: its part, and at least one."""

    def __init__(self, limits: Limits, replicas: int) -> None:
        self._limits = limits
        self._replicas = replicas

    def acquire(self, ask: Ask, now: float) -> Permit | Denial:
        """As `Limits.acquire`, within this replica's share. Settle with `Limits.settle`."""
        raise NotImplementedError
