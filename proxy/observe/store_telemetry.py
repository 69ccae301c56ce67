"""What operators see of where limits and holds are kept: operations, failures, and what was restored."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from proxy.observe.children import counters, histograms
from proxy.observe.log import Log

OUTCOMES = ("granted", "denied", "void", "settled", "lost", "beaten", "cleared", "ok", "failed")
"""Of an operation. `void` came too late or to a server that was emptied, `lost` is a permit that was taken
back before, `failed` was not answered or came to nothing.
"""
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class StoreTelemetry:
    """Metrics and log lines of a store that is more than memory."""

    def __init__(self, registry: CollectorRegistry, log: Log) -> None:
        self._log = log
        self._operations = counters(
            registry,
            "store_operations",
            "Operations on the store of limits and holds, by what came of them.",
            "operation",
            "outcome",
        )
        self._duration = histograms(
            registry,
            "store_operation_duration",
            "Time of one operation on the store that succeeded.",
            BUCKETS,
            "operation",
        )
        self._errors = counters(registry, "store_errors", "Failures of the store, by the reason.", "reason")
        self._fallback = counters(
            registry,
            "store_fallback_seconds",
            "Time for which the shared store was away.",
        )[()]
        self._lost = counters(
            registry,
            "store_leases_lost",
            "Calls whose permits the shared store had taken back before they ended.",
        )[()]

    def operation(self, operation: str, outcome: str, seconds: float) -> None:
        """One operation has ended after `seconds`."""
        self._operations[operation, outcome].inc()
        self._duration[operation,].observe(seconds)

    def failed(self, operation: str) -> None:
        """One operation came to nothing."""
        self._operations[operation, "failed"].inc()

    def error(self, reason: str) -> None:
        """The store failed, or could not be reached."""
        self._errors[reason,].inc()

    def away(self, reason: str) -> None:
        """The store cannot be used; the process goes on with what it has in memory."""
        self._log.warning("store_away", reason=reason)

    def fallback(self, seconds: float) -> None:
        """The local share stood in for so long."""
        self._fallback.inc(seconds)

    def back(self, seconds: float, replicas: int = 1) -> None:
        """The store can be used again, after `seconds`, and `replicas` share it."""
        self._log.warning("store_back", seconds=round(seconds, 3), replicas=replicas)

    def lease_lost(self) -> None:
        """A permit was settled here that the store knew no more."""
        self._lost.inc()

    def restored(self, budgets: int, holds: int, keys: int, seconds: float) -> None:
        """So much was found in the store, `seconds` after its last write."""
        self._log.info("store_restored", budgets=budgets, holds=holds, keys=keys, seconds=round(seconds, 3))

    def moved_aside(self, path: str, seconds: float) -> None:
        """What was kept cannot be read and now has this name; it was written `seconds` ago."""
        self._log.error("store_damaged", moved_to=path, seconds=round(seconds, 3))
