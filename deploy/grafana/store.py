"""Where limits are kept, whether it can be used, and whether it keeps up."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.grafana.panels import THIRD, Panel, Query, lines
from deploy.grafana.queries import percentile, rate


def where_limits_are_kept() -> Sequence[Panel]:
    """Whether the store can be used, what it is asked, what fails. Flat where limits are in memory alone."""
    return (
        lines(
            "Store answers",
            "At 0 a sidecar goes on alone: with its local share, or without a state file.",
            "short",
            Query("min by (kind, instance) (xero_proxy_store_up)", "{{instance}}: {{kind}}"),
            width=THIRD // 2,
            ceiling=1.0,
        ),
        lines(
            "Replicas seen",
            "How many share the limits, as each sidecar was told last.",
            "short",
            Query("max by (instance) (xero_proxy_store_replicas)", "{{instance}}"),
            width=THIRD // 2,
        ),
        lines(
            "Local share",
            "Part of the time for which a sidecar went on alone.",
            "percentunit",
            Query("rate(xero_proxy_store_fallback_seconds_total[$__rate_interval])", "{{instance}}"),
            ceiling=1.0,
        ),
        lines(
            "Operations",
            "Redis: two for a request, and a beat every two seconds. A state file: ten a second.",
            "ops",
            Query(
                rate("xero_proxy_store_operations_total", "", "operation, outcome"),
                "{{operation}}: {{outcome}}",
            ),
            stacked=True,
        ),
        lines(
            "Time of an operation",
            "95th percentile, where it was answered.",
            "s",
            Query(percentile("xero_proxy_store_operation_duration_seconds", by="operation"), "{{operation}}"),
        ),
        lines(
            "Failures",
            "Of the disk, or connections that were given up or did not come about; by reason.",
            "short",
            Query(
                "sum by (reason) (increase(xero_proxy_store_errors_total[$__rate_interval]))",
                "{{reason}}",
            ),
            width=THIRD // 2,
        ),
        lines(
            "Permits taken back",
            "Settled after the store had taken their replica for dead.",
            "short",
            Query("increase(xero_proxy_store_leases_lost_total[$__rate_interval])", "{{instance}}"),
            width=THIRD // 2,
        ),
    )
