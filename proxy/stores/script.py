"""What is asked of the script on the server, and what it answers, as the core's own values.

`limits.lua` repeats the rules of `proxy.core.sharing` over keys of the server, one atomic call for a
decision. Here its arguments are written and its replies read; nothing is sent from here. Times on the
wire are durations, because a replica's clock and the server's have nothing in common: what the server says
is *seconds from now* is added to the moment at which the reply is read, which is later than the truth and
so on the safe side.

    EVALSHA SHA 1 <namespace> <arguments>        namespace = Script.namespace, the only key

Arguments are made at the moment of sending: they hold ages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from proxy.core.accounts import Caps
from proxy.core.holds import HoldChange, HoldTimes
from proxy.core.limits import Ask, Denial, Effects, Permit, Settlement
from proxy.core.model import HoldKey, HoldView

LEASE_SECONDS = 6.0
"""A replica that has not been heard of for so long is dead, and its permits are settled for it."""

Arguments = list[str | bytes]
Reply = Sequence[bytes | int | Sequence[bytes]]
"""As a client gives it that decodes nothing (`decode_responses=False`)."""

SOURCE: str = ""
"""The whole script."""
SHA: str = ""
"""Its name for EVALSHA."""


class VoidReason(StrEnum):
    """Why a question was not answered; nothing was charged."""

    LATE = "late"
    """It arrived after `void_after`: whoever asked has stopped waiting."""
    EPOCH = "epoch"
    """The server's state is not the one that the replica knows: it was flushed or restarted empty. The next
    beat tells the new epoch."""


@dataclass(frozen=True, slots=True)
class Void:
    """No decision."""

    reason: VoidReason


@dataclass(frozen=True, slots=True)
class Seen:
    """What was left of an organisation's and its app's limits when the script had decided; None where the
    decision did not depend on it.
    """

    in_flight: int | None = None
    minute: int | None = None
    day: int | None = None
    app_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to `acquire`; `server_time` is the server's clock then, in seconds since 1970."""

    outcome: Permit | Denial | Void
    seen: Seen
    server_time: float


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to `settle`. `lost` says that the server knew of no such permit: it was reaped, flushed or
    granted locally. Its response was learned from all the same, and began and ended holds.
    """

    effects: Effects
    lost: bool
    seen: Seen
    server_time: float


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a beat. `replicas` are alive, this one among them; `lapsed` says that its own lease had
    ended (or it is new), `reaped` how many permits of dead replicas were settled just now; `more` says that
    there are more of them: beat again at once. `epoch` names the server's state.
    """

    replicas: int
    lapsed: bool
    reaped: int
    more: bool
    epoch: str
    holds: tuple[HoldView, ...]
    server_time: float


@dataclass(frozen=True, slots=True)
class Room:
    """An event: `replica` made room for others of this organisation, whoever waits may ask again."""

    replica: str
    app: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Held:
    """An event: a hold changed at `replica`; `change.until` is on the reader's clock."""

    replica: str
    change: HoldChange


class Script:
    """The script's calls as one replica makes them. `replica` is unique to this process and incarnation;
    `app_id` keeps two apps apart that share a server.
    """

    def __init__(self, prefix: str, app_id: str, replica: str, caps: Caps, times: HoldTimes) -> None:
        self.namespace = f"{{{prefix}:{app_id}}}"
        self.channel = f"{self.namespace}:events"
        """Where events are published."""

    def acquire(
        self, ask: Ask, number: int, *, more: bool, epoch: str = "", void_after: float | None = None
    ) -> Arguments:
        """Ask for permit `number`, which the replica chooses and never uses again: whoever does not learn of a
        grant can settle it all the same. `more` says that others wait behind this request; `epoch` and
        `void_after` (on the server's clock) make the question void, see `VoidReason`; empty and None do not.
        """
        raise NotImplementedError

    def decision(self, reply: Reply, ask: Ask, number: int, now: float) -> Decision:
        """Read the answer; `now` is when it was read, on the replica's clock."""
        raise NotImplementedError

    def settle(self, permit: Permit, settlement: Settlement, now: float, random: float) -> Arguments:
        """Account for a permit; `now` is the moment of sending, on the clock of `permit.granted_at` and
        `settlement.head_at`. Where it never was granted (`sent` False) nothing happens.
        """
        raise NotImplementedError

    def settled(self, reply: Reply, permit: Permit, now: float) -> Settled:
        """Read the answer."""
        raise NotImplementedError

    def beat(self, lease: float = LEASE_SECONDS) -> Arguments:
        """Say that this replica lives, for every 2 s; a lease of 0 takes leave, and what it had in flight is
        settled as sent with an unknown outcome.
        """
        raise NotImplementedError

    def beaten(self, reply: Reply, now: float) -> Beat:
        """Read the answer."""
        raise NotImplementedError

    def clear(self, key: HoldKey) -> Arguments:
        """End a hold because an operator says so."""
        raise NotImplementedError

    def cleared(self, reply: Reply, key: HoldKey, now: float) -> HoldChange | None:
        """Read the answer; None where there was no such hold."""
        raise NotImplementedError


def event(message: bytes, now: float) -> Room | Held | None:
    """Read what was published; None where it is nothing that this version knows."""
    raise NotImplementedError
