"""What is asked of the script on the server, and what it answers, as the core's own values.

`lua/` repeats the rules of `core.limits.sharing` over keys of the server, one atomic call for a decision; a
test holds the two against each other. Here its arguments are written and its replies read; nothing is sent
from here. Times on the wire are durations, because a replica's clock and the server's have nothing in
common: what the server says is *seconds from now* is added to the moment at which the reply is read, which
is later than the truth and so on the safe side.

    EVALSHA <script of the operation> 1 <namespace> <arguments>    namespace = Script.namespace, the only key

Arguments are made at the moment of sending: they hold ages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import NO_EFFECTS, Ask, Denial, Effects, Permit, Settlement
from proxy.core.limits.holds import HoldAction, HoldChange, HoldTimes
from proxy.core.limits.sharing import LEASE_SECONDS, Pulse
from proxy.core.model import HoldKey, HoldView, Scope, keys_of
from proxy.stores.lua import sources

Arguments = list[bytes]
Reply = Any
"""As a client gives it that decodes nothing (`decode_responses=False`)."""


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
class Decision:
    """The answer to `acquire`; `server_time` is the server's clock then, in seconds since 1970."""

    outcome: Permit | Denial | Void
    server_time: float


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to `settle`. `lost` says that the server knew of no such permit: it was reaped, flushed or
    granted locally. Its response was learned from all the same, and began and ended holds.
    """

    effects: Effects
    lost: bool


@dataclass(frozen=True, slots=True)
class Beat(Pulse):
    """The answer to a beat. Where `more` is set there are more permits of dead replicas: beat again at once.
    `epoch` names the server's state, `holds` are all there are, or None where those are very many.
    """

    epoch: str
    holds: tuple[HoldView, ...] | None
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
        self.channels = f"{self.namespace}:events", f"{self.namespace}:events:{replica}"
        """Where events are published: those for everybody, and those for this replica because it waits."""
        self.sources = sources(caps, times)
        """The script of each operation, by the first of its arguments."""
        self._replica = _bytes(replica)

    def acquire(
        self, ask: Ask, number: int, *, more: bool, epoch: str = "", void_after: float | None = None
    ) -> Arguments:
        """Ask for permit `number`, which the replica chooses and never uses again: whoever does not learn of
        a grant can settle it all the same. `more` says that others wait behind this request; `epoch` and
        `void_after` (on the server's clock) make the question void, see `VoidReason`; empty and None do not.
        """
        own = _flag(more), _bytes(epoch), _number(void_after)
        return [b"acquire", self._replica, b"%d" % number, *_ask(ask), *own]

    def decision(self, reply: Reply, ask: Ask, number: int, now: float) -> Decision:
        """Read the answer; `now` is when it was read, on the replica's clock."""
        keys = keys_of(ask.app, ask.tenant, ask.api)
        if isinstance(reply, bytes):
            return Decision(Permit(number, ask, keys, now), float(reply))
        outcome, server_time, *rest = reply
        if outcome == b"void":
            return Decision(Void(VoidReason(_text(rest[0]))), float(server_time))
        limit, seconds, places = rest
        named = tuple(keys[int(place)] for place in places.split())
        until = None if seconds == b"" else now + float(seconds)
        if outcome == b"denied":
            told: Permit | Denial = Denial(_text(limit), until, named[0] if named else None)
        else:
            following = Denial(_text(limit), until) if limit else None
            told = Permit(number, ask, keys, now, named, following)
        return Decision(told, float(server_time))

    def settle(
        self, permit: Permit, settlement: Settlement, now: float, random: float, *, ended: bool = True
    ) -> Arguments:
        """Account for what an answer means; `now` is the moment of sending, on the clock of
        `permit.granted_at` and `settlement.head_at`. Where the permit never was granted and nothing was sent,
        nothing happens.
        """
        row, rule, remaining = settlement.row, settlement.row.hold, settlement.remaining
        head_age = max(0.0, now - settlement.head_at) if settlement.sent else 0.0
        held = (b"", b"", b"", b"0")
        if rule is not None:
            seconds = _bytes(rule.seconds) if isinstance(rule.seconds, str) else _number(rule.seconds)
            held = (_bytes(rule.scope), _bytes(rule.reason), seconds, _flag(rule.probe))
        return [
            b"settle",
            self._replica,
            b"%d" % permit.number,
            *_ask(permit.ask),
            _number(max(0.0, now - permit.granted_at)),
            _number(head_age),
            _flag(settlement.sent),
            _number(remaining.minute),
            _number(remaining.day),
            _number(remaining.app_minute),
            _number(settlement.retry_after),
            _number(random),
            _flag(row.healthy),
            _flag(row.breaks),
            _flag(settlement.again),
            *held,
            _flag(ended),
        ]

    def release(self, permit: Permit) -> Arguments:
        """Free a permit's place; the reply says `released`, or `lost` where there is none."""
        return [b"release", self._replica, b"%d" % permit.number]

    def let_go(self, permit: Permit) -> Arguments:
        """Let nobody wait for a probe any more."""
        return [b"let_go", self._replica, b"%d" % permit.number, *_ask(permit.ask)]

    def settled(self, reply: Reply, permit: Permit, now: float) -> Settled:
        """Read the answer."""
        outcome, foreign, *changed = reply
        effects = NO_EFFECTS
        if foreign or changed:
            changes = tuple(
                _change(action, permit.keys[place], now, *rest) for action, place, *rest in changed
            )
            effects = Effects(changes, foreign)
        return Settled(effects, outcome == b"lost")

    def beat(self, lease: float = LEASE_SECONDS, held: Iterable[int] | None = None) -> Arguments:
        """Say that this replica lives, for every 2 s; a lease of 0 takes leave, and what it had in flight is
        settled as sent with an unknown outcome. So is, where `held` is given, whatever else the server has.
        """
        numbers = b"" if held is None else f" {' '.join(map(str, held))} ".encode()
        return [b"beat", self._replica, _number(lease), numbers]

    def beaten(self, reply: Reply) -> Beat:
        """Read the answer."""
        server_time, replicas, lapsed, reaped, more, told, epoch, *holds = reply
        views = tuple(
            HoldView(_key(name), _text(reason), float(seconds), bool(probing), bool(probe))
            for name, reason, seconds, probing, probe in holds
        )
        told_all = views if told else None
        return Beat(replicas, bool(lapsed), reaped, bool(more), _text(epoch), told_all, float(server_time))

    def clear(self, key: HoldKey) -> Arguments:
        """End a hold because an operator says so."""
        return [b"clear", self._replica, *map(_bytes, (key.scope, key.app, key.tenant, key.api))]

    def cleared(self, reply: Reply, key: HoldKey, now: float) -> HoldChange | None:
        """Read the answer; None where there was no such hold."""
        return _change(b"cleared", key, now, *reply) if reply else None


def event(message: bytes, now: float) -> Room | Held | None:
    """Read what was published; None where it is nothing that this version knows."""
    match json.loads(_text(message)):
        case ["room", str(replica), str(app), str(tenant)]:
            return Room(replica, app, tenant)
        case ["hold", str(replica), action, scope, app, tenant, api, reason, seconds, probe]:
            key = HoldKey(Scope(scope), app, tenant, api)
            return Held(replica, HoldChange(HoldAction(action), key, reason, now + seconds, bool(probe)))
    return None


def _ask(ask: Ask) -> tuple[bytes, bytes, bytes]:
    return _bytes(ask.app), b"" if ask.tenant is None else b"=" + _bytes(ask.tenant), _bytes(ask.api)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _number(number: float | None) -> bytes:
    return b"" if number is None else repr(number).encode()


def _flag(flag: bool) -> bytes:
    return b"1" if flag else b"0"


def _change(action: bytes, key: HoldKey, now: float, reason: bytes, seconds: bytes, probe: int) -> HoldChange:
    return HoldChange(HoldAction(_text(action)), key, _text(reason), now + float(seconds), bool(probe))


def _key(name: bytes) -> HoldKey:
    """A hold from its name in the script, see `hold_names` there."""
    scope, _, rest = name.partition(b":")
    match Scope(_text(scope)):
        case Scope.TENANT:
            app, tenant = _counted(rest)
            return HoldKey(Scope.TENANT, app=_text(app), tenant=_text(tenant))
        case Scope.TENANT_API:
            app, rest = _counted(rest)
            tenant, api = _counted(rest)
            return HoldKey(Scope.TENANT_API, app=_text(app), tenant=_text(tenant), api=_text(api))
        case Scope.APP:
            return HoldKey(Scope.APP, app=_text(rest))
        case Scope.API:
            return HoldKey(Scope.API, api=_text(rest))
        case Scope.HOST:
            return HoldKey(Scope.HOST)


def _counted(name: bytes) -> tuple[bytes, bytes]:
    """What is preceded by its length, and the rest."""
    length, _, rest = name.partition(b":")
    return rest[: int(length)], rest[int(length) + 1 :]
