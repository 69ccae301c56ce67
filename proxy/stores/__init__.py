"""Where limits and holds are kept, behind one contract.

The rules stand in `proxy.core.limits.decision`; a store says where their state lives and who shares it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from proxy.core.limits.decision import Ask, Denial, Effects, Forecast, Permit, Settlement
from proxy.core.limits.holds import HoldChange
from proxy.core.model import AppView, HoldKey, HoldView, Left, StoreView, TenantView


class Heard(Protocol):
    """Who is told of what others did with the same limits, and of what is known only after a while."""

    def waiting(self, ask: Ask) -> bool:
        """Whether more requests of this organisation wait behind the one that asks."""
        ...

    def settled(self, permit: Permit, effects: Effects) -> None:
        """What a settlement changed that had no effects yet when `Store.settle` returned."""

    def released(self, app: str, tenant: str | None) -> None:
        """Somebody else made room for calls of one organisation, or (None) of one app."""

    def hold_changed(self, change: HoldChange) -> None:
        """Somebody else's attempt began, extended or ended a hold; `until` is on this process's clock."""


class Claims(Protocol):
    """Replicas that agree who refreshes a token. `secret` identifies the refresh, answers are opaque."""

    async def claim(self, secret: bytes) -> bytes | None:
        """Wait for another's answer; None where the call is to be made here, and then to be concluded."""

    def conclude(self, secret: bytes, answer: bytes | None, seconds: float) -> None:
        """Give the answer to the others for `seconds`, or let them try where there is none."""

    async def revoke(self, name: bytes, seconds: float) -> None:
        """Let all know for `seconds` that the token of this name is revoked."""

    async def revoked(self, name: bytes) -> bool:
        """Whether anybody said so; False where nobody can be asked."""
        ...

    async def close(self) -> None:
        """Tell the others what is not told yet, and leave."""


class Store(Protocol):
    """Decides and accounts, one whole decision per call. Only what `forecast`, `left` and `view` say may be
    out of date.
    """

    async def start(self, heard: Heard) -> None:
        """Read or join what is kept elsewhere, before the first call. Raises OSError naming what cannot be
        used.
        """

    async def close(self) -> None:
        """Keep or hand over what is not kept yet, after the last call."""

    async def acquire(self, ask: Ask) -> Permit | Denial:
        """Charge all limits or none; see `Limits.acquire`."""

    def acquire_now(self, ask: Ask) -> Permit | Denial | None:
        """The same where the store can tell without a wait, None where it cannot."""
        ...

    async def settle(self, permit: Permit, settlement: Settlement, *, ended: bool = True) -> Effects:
        """Account for what an attempt's answer means; exactly once per permit. Effects that are not known at
        once are told to `Heard.settled`. Where the answer has not `ended`, `release` follows.
        """

    def release(self, permit: Permit) -> None:
        """The last byte of an answer has come: its place is free. Once per permit, after `settle`."""

    def let_go(self, permit: Permit) -> Sequence[HoldChange]:
        """Nobody need wait for a probe's verdict any more; what that changes."""
        ...

    async def clear(self, key: HoldKey) -> HoldChange | None:
        """End a hold because an operator says so, and what is believed of an organisation's day; None where
        nothing stood in the way. See `Limits.clear`.
        """

    def forecast(self, ask: Ask, ahead: int) -> Forecast:
        """The earliest time that is possible as far as this process knows."""

    def left(self, ask: Ask) -> Left:
        """What its limits leave to a request, as far as this process knows."""
        ...

    def view(self) -> tuple[Iterator[TenantView], Iterator[AppView], Iterator[HoldView]]:
        """Budgets and holds for operators, as far as this process knows, made as they are taken."""

    def health(self) -> StoreView:
        """How the store itself fares."""
        ...
