"""What does it cost, and how is the process."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.grafana.panels import Panel, Query, bars, lines
from deploy.grafana.queries import API, OURS, TENANT, percentile, rate


def what_it_costs() -> Sequence[Panel]:
    """Bytes and calls."""
    return (
        bars(
            "Sent to callers",
            "Bytes of bodies over the range shown, by organisation.",
            "bytes",
            Query(
                f"sum by (tenant) (increase(xero_proxy_response_bytes_total{{{TENANT},{API}}}[$__range]))",
                "{{tenant}}",
            ),
        ),
        lines(
            "Sent to callers, by organisation and API",
            "Bytes of bodies a second.",
            "Bps",
            Query(
                rate("xero_proxy_response_bytes_total", f"{TENANT},{API}", "tenant, api"),
                "{{tenant}}: {{api}}",
            ),
            stacked=True,
        ),
        lines(
            "Calls to Xero",
            "What was sent, retries among it, by API.",
            "reqps",
            Query(rate("xero_proxy_sends_total", API, "api"), "{{api}}"),
            stacked=True,
        ),
    )


def the_process() -> Sequence[Panel]:
    """Each sidecar's own resources."""
    return (
        lines(
            "CPU",
            "Cores; a sidecar uses one at most.",
            "short",
            Query(f"rate(process_cpu_seconds_total[$__rate_interval]) {OURS}", "{{instance}}"),
            width=6,
        ),
        lines(
            "Memory",
            "Resident.",
            "bytes",
            Query(f"process_resident_memory_bytes {OURS}", "{{instance}}"),
            width=6,
        ),
        lines(
            "Event loop lag",
            "95th percentile: so late is everything that a sidecar does.",
            "s",
            Query(percentile("xero_proxy_event_loop_lag_seconds", by="instance"), "{{instance}}"),
            width=6,
        ),
        lines(
            "File descriptors used",
            "Share of those allowed.",
            "percentunit",
            Query(f"process_open_fds / process_max_fds {OURS}", "{{instance}}"),
            width=6,
            ceiling=1.0,
        ),
        lines(
            "Running for",
            "Falls to zero where a sidecar was started again.",
            "s",
            Query(f"time() - process_start_time_seconds {OURS}", "{{instance}}"),
            width=8,
        ),
        lines(
            "Log lines lost",
            "Lines that nobody took in time: the reader of the log is slow or stopped.",
            "cps",
            Query("rate(xero_proxy_log_dropped_total[$__rate_interval])", "{{instance}}"),
            width=8,
        ),
        lines(
            "Bodies on disk",
            "Uploads that wait and answers that callers have not read yet, together.",
            "bytes",
            Query("max by (instance) (xero_proxy_spool_bytes)", "{{instance}}"),
            width=8,
        ),
    )
