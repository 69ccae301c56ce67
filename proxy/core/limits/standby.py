"""A replica's own account beside the shared one, so that it can go on by itself at any moment.

While the server decides, what it grants is charged here too. Alone, the replica decides within its share.
Back again both must agree for a while: the server does not know of what its replicas sent meanwhile. What
they sent before it may know no more, be it empty or back at an older state. Nobody exceeds its share until
all that has left every window, so the sum stays within the limit; beyond it can only go what a replica sends
that alone cannot reach the server, which is its share at most.
"""

from __future__ import annotations

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Effects, Limits, Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldChange, HoldTimes
from proxy.core.limits.sharing import LocalShare
from proxy.core.model import Remaining

REPLICAS_UNSEEN = 4
"""So many replicas are assumed by one that has not reached the server since it started."""


class Standby:
    """`limits` holds everything that this replica did and learned. A replica is alone until it `joined`.

    `replicas` are those that the server saw last.
    """

    def __init__(self, caps: Caps, times: HoldTimes) -> None:
        self.limits = Limits(caps, times)
        self.replicas = REPLICAS_UNSEEN
        self.alone = True
        self._caps = caps
        self._first = True
        self._sharers = REPLICAS_UNSEEN
        self._share: LocalShare | None = LocalShare(self.limits, caps, REPLICAS_UNSEEN)
        self._agree_until = 0.0
        self.open: set[int] = set()
        """Permits that are not released."""
        self._alone: set[int] = set()
        """Open permits that the server never granted."""
        self._unknown: set[int] = set()
        """Open permits that the server does not know of, or may not know of any more."""

    def acquire(self, ask: Ask, now: float) -> Permit | Denial | None:
        """What this replica says by itself; None where the server decides alone. A permit of one that is
        not alone needs the server's leave too, and is to be settled as never sent where that is refused.
        """
        if self._share is None or self._trusts(now):
            self._share = None
            return None
        decision = self._share.acquire(ask, now)
        if isinstance(decision, Permit):
            self.open.add(decision.number)
            if self.alone:
                self.unheard(decision)
        return decision

    def charge(self, permit: Permit) -> None:
        """The server granted a permit by itself."""
        self.limits.charge(permit)
        self.open.add(permit.number)

    def unheard(self, permit: Permit) -> None:
        """A permit is used without the server's leave."""
        self._alone.add(permit.number)
        self._unknown.add(permit.number)

    def granted_alone(self, permit: Permit) -> bool:
        """Whether an open permit is used without the server's leave."""
        return permit.number in self._alone

    def settle(
        self, permit: Permit, settlement: Settlement, now: float, random: float, *, ended: bool = True
    ) -> Effects:
        """As `Limits.settle`, for every permit that is used here."""
        effects = self.limits.settle(permit, settlement, now, random, ended=ended)
        if ended:
            self._forget(permit, now)
        return effects

    def release(self, permit: Permit, now: float) -> None:
        """As `Limits.release`."""
        self.limits.release(permit)
        self._forget(permit, now)

    def _forget(self, permit: Permit, now: float) -> None:
        self.open.discard(permit.number)
        self._alone.discard(permit.number)
        if permit.number in self._unknown:
            self._unknown.discard(permit.number)
            self._agree_until = max(self._agree_until, now + self._caps.minute_seconds)

    def follow(self, change: HoldChange, now: float) -> None:
        """Take over what happened to a hold elsewhere, and what that says of its limit."""
        if change.action is HoldAction.CLEARED:
            self.limits.clear(change.key, now)
        elif change.action is HoldAction.ENDED:
            self.limits.accounts.let_in(change.key, change.reason, Remaining(), now, now)
        self.limits.holds.follow(change, now)

    def fell(self, now: float) -> None:
        """The server cannot be reached any more."""
        if not self.alone:
            sharers = 1 if self._share is None or self._trusts(now) else self._sharers
            self._measure(max(self.replicas, sharers))
            self.alone = True

    def joined(self, replicas: int, now: float) -> None:
        """The server answers."""
        first, self._first = self._first, False
        self.alone = False
        self.replicas = replicas
        if first and not (self._unknown or self._agree_until):
            self._share = None  # nothing was sent before
            return
        self._agree_until = max(self._agree_until, now + self._caps.minute_seconds)
        self._unknown |= self.open
        if self._share is None or replicas > self._sharers:
            self._measure(replicas)

    def _measure(self, sharers: int) -> None:
        self._sharers = sharers
        self._share = LocalShare(self.limits, self._caps, sharers)

    def _trusts(self, now: float) -> bool:
        """Whether the server knows of everything that still counts."""
        return not self.alone and not self._unknown and now >= self._agree_until
