"""How metrics are asked: PromQL with the dashboard's variables in it."""

from __future__ import annotations

from proxy.core.answers.answers import OWN

NOBODY_ANSWERED = "caller_left"
MADE = "|".join(sorted(OWN.keys() - {NOBODY_ANSWERED}))
"""Classes of the answers that the proxy makes itself."""
ERRORS = 'status=~"429|5.."'
"""What a caller cannot mend by changing its request."""
OURS = "and on (job, instance) xero_proxy_build_info"
"""Metrics without the prefix (`process_*`) are joined with one that has it, lest other processes show."""
TENANT, API = 'tenant=~"$tenant"', 'api=~"$api"'


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """Events a second, added up by the labels in `by`."""
    selected = f"{metric}{{{labels}}}" if labels else metric
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({selected}[$__rate_interval]))"


def percentile(metric: str, labels: str = "", by: str = "") -> str:
    """The 95th percentile of a histogram."""
    buckets = rate(f"{metric}_bucket", labels, f"le, {by}" if by else "le")
    return f"histogram_quantile(0.95, {buckets})"
