"""Puts together what callers, sidecar and simulator each know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.core.model import Scope, Snapshot
from proxy.demo.load import HARBOUR, ORGANISATIONS, Organisation
from proxy.demo.screen import Row
from proxy.demo.summary import Outcome
from proxy.demo.tally import Refusals, Tally, refusals, share_used
from proxy.simulator.ledger import Entry
from proxy.simulator.options import Options
from proxy.simulator.server import Simulator


class Witness:
    """Rows while the demo runs, and its outcome. `minute_limit` is the sidecar's setting."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        minute_limit: int,
        simulator: Simulator,
        options: Options,
        tallies: Mapping[str, Tally],
    ) -> None:
        self._snapshot = snapshot
        self._minute_limit = minute_limit
        self._simulator = simulator
        self._options = options
        self._tallies = tallies

    def rows(self) -> tuple[Row, ...]:
        """One row for each organisation."""
        snapshot = self._snapshot()
        return tuple(self._row(organisation, snapshot) for organisation in ORGANISATIONS)

    def outcome(self, pace: float) -> Outcome:
        """What came of it all; a second of the demo stands for `pace`."""
        names = [organisation.name for organisation in ORGANISATIONS]
        each = [self._refusals(organisation) for organisation in ORGANISATIONS]
        options = self._options
        return Outcome(
            tallies=tuple(self._tallies.values()),
            refusals=Refusals(sum(r.own for r in each), sum(r.met for r in each)),
            doubled=len(self._simulator.ledger.duplicates()),
            fullest=max(self._simulator.peak_rolling(name) for name in names),
            at_once=max(self._simulator.peak_concurrent(name) for name in names),
            limit=options.minute_limit,
            busiest=HARBOUR.name,
            share=share_used(
                [entry.time for entry in self._entries(HARBOUR)], options.minute_limit, options.window_seconds
            ),
            pace=pace,
        )

    def _row(self, organisation: Organisation, snapshot: Snapshot) -> Row:
        name = organisation.name
        tally = self._tallies[name]
        view = next((view for view in snapshot.tenants if view.tenant == name.lower()), None)
        reason, seconds = _blocked(snapshot, name.lower())
        return Row(
            name=name,
            sent=tally.sent,
            answered=tally.answered + tally.told,
            waiting=view.queued if view else 0,
            left=view.minute_remaining if view else self._minute_limit,
            limit=view.minute_limit if view else self._minute_limit,
            reason=reason,
            seconds=seconds,
            retries=tally.retries,
            refusals=self._refusals(organisation),
            shared=bool(organisation.others),
        )

    def _refusals(self, organisation: Organisation) -> Refusals:
        return refusals(
            self._entries(organisation),
            self._simulator.refused,
            shared=bool(organisation.others),
            limit=self._options.minute_limit,
            window=self._options.window_seconds,
        )

    def _entries(self, organisation: Organisation) -> list[Entry]:
        return [entry for entry in self._simulator.ledger.entries if entry.tenant == organisation.name]


def _blocked(snapshot: Snapshot, tenant: str) -> tuple[str, float | None]:
    """What stops an organisation, and how many seconds yet. The sidecar takes tenants without case."""
    hold = next((h for h in snapshot.holds if (h.key.scope, h.key.tenant) == (Scope.TENANT, tenant)), None)
    if hold is not None and hold.seconds:
        return hold.reason, hold.seconds
    view = next((view for view in snapshot.tenants if view.tenant == tenant), None)
    if view is None or not view.queued:
        return "", None
    return (f"{hold.reason} probe", None) if hold is not None else (view.blocked_by, view.next_seconds)
