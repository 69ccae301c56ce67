"""What operators see of a store that is reached over a network."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from proxy.log import Log

OUTCOMES = ("granted", "denied", "void", "settled", "lost", "beaten", "cleared", "failed")
"""Of an operation. `void` came too late or to a server that was emptied, `lost` is a permit that was taken
back before, `failed` was not answered.
"""
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)


class StoreTelemetry:
    """Metrics of the store's operations, and a line in the log whenever it goes away and comes back."""

    def __init__(self, registry: CollectorRegistry, log: Log) -> None:
        self._log = log
        self._operations = Counter(
            "xero_proxy_store_operations",
            "Calls of the shared store by what came of them.",
            ("operation", "outcome"),
            registry=registry,
        )
        self._duration = Histogram(
            "xero_proxy_store_operation_duration_seconds",
            "One call of the shared store, where it was answered.",
            ("operation",),
            registry=registry,
            buckets=BUCKETS,
        )
        self._errors = Counter(
            "xero_proxy_store_errors", "What the shared store failed with.", ("reason",), registry=registry
        )
        self._fallback = Counter(
            "xero_proxy_store_fallback_seconds",
            "Time for which the local share stood in for the shared store.",
            registry=registry,
        )
        self._lost = Counter(
            "xero_proxy_store_leases_lost",
            "Permits that the shared store had taken back before they were settled.",
            registry=registry,
        )

    def operation(self, operation: str, outcome: str, seconds: float) -> None:
        """One call was answered after `seconds`."""
        self._operations.labels(operation, outcome).inc()
        self._duration.labels(operation).observe(seconds)

    def failed(self, operation: str) -> None:
        """One call was not answered."""
        self._operations.labels(operation, "failed").inc()

    def error(self, reason: str) -> None:
        """A connection was given up, or did not come about."""
        self._errors.labels(reason).inc()

    def away(self, reason: str) -> None:
        """The local share stands in from now on."""
        self._log.warning("store_away", reason=reason)

    def fallback(self, seconds: float) -> None:
        """The local share stood in for so long."""
        self._fallback.inc(seconds)

    def back(self, seconds: float, replicas: int) -> None:
        """The store decides again, after `seconds`."""
        self._log.warning("store_back", seconds=round(seconds, 3), replicas=replicas)

    def lease_lost(self) -> None:
        """A permit was settled here that the store knew no more."""
        self._lost.inc()
