"""Why is it slow, and what failed."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.grafana.panels import HALF, Panel, Query, lines
from deploy.grafana.queries import API, TENANT, percentile, rate


def why_is_it_slow() -> Sequence[Panel]:
    """Waiting, by what blocked, and Xero's own time against what the proxy adds."""
    spent = rate("xero_proxy_request_duration_seconds_sum", API)
    at_xero = rate("xero_proxy_upstream_duration_seconds_sum", API)
    requests = rate("xero_proxy_request_duration_seconds_count", API)
    return (
        lines(
            "Queue wait (p95)",
            "By the limit or the hold that blocked longest; none has not waited.",
            "s",
            Query(percentile("xero_proxy_queue_wait_seconds", by="limit"), "{{limit}}"),
        ),
        lines(
            "Waiting requests",
            "In line, by organisation.",
            "short",
            Query(f"sum by (tenant) (xero_proxy_queue_depth{{{TENANT}}})", "{{tenant}}"),
            stacked=True,
        ),
        lines(
            "Oldest waiting request",
            "At the longest wait it is refused, unless it asked for another.",
            "s",
            Query(f"max by (tenant) (xero_proxy_queue_oldest_seconds{{{TENANT}}})", "{{tenant}}"),
            Query("max (xero_proxy_max_wait_seconds)", "longest wait"),
        ),
        lines(
            "Requests at Xero at once",
            "Xero allows each organisation so many as its limit says.",
            "short",
            Query(f"sum by (tenant) (xero_proxy_in_flight{{{TENANT}}})", "{{tenant}}"),
            Query('max (xero_proxy_limit{limit="concurrent"})', "limit"),
        ),
        lines(
            "Whole and at Xero (p95)",
            "From arrival to the answer, and one attempt at Xero.",
            "s",
            Query(percentile("xero_proxy_request_duration_seconds", API), "whole"),
            Query(percentile("xero_proxy_upstream_duration_seconds", API), "at Xero"),
        ),
        lines(
            "Added by the proxy (mean)",
            "Waiting, back-off and the proxy's own work: all but the time at Xero.",
            "s",
            Query(f"clamp_min(({spent} - {at_xero}) / {requests}, 0)", "added"),
        ),
    )


def what_failed() -> Sequence[Panel]:
    """Failures by API, what was tried again and what not, and callers that left."""
    return (
        lines(
            "Not successful, by API",
            "Requests by API and class; what each class means says config/responses.toml.",
            "reqps",
            Query(
                rate("xero_proxy_requests_total", f'class!="success",{API}', "api, class"),
                "{{api}}: {{class}}",
            ),
            width=HALF,
            stacked=True,
        ),
        lines(
            "Unknown outcomes",
            "Writes that Xero may have executed and that were not sent again: somebody must look.",
            "reqps",
            Query(
                rate("xero_proxy_requests_total", f'class="outcome_unknown",{API}', "api, method"),
                "{{method}} {{api}}",
            ),
            width=HALF,
        ),
        lines(
            "Answers with tokens",
            "Refreshes and grants: by a call of their own (upstream), by another's (shared), or as kept.",
            "reqps",
            Query(rate("xero_proxy_token_answers_total", by="source"), "{{source}}"),
            width=6,
        ),
        lines(
            "Retries",
            "Attempts that were made again, by what they repeat.",
            "reqps",
            Query(rate("xero_proxy_retries_total", by="class"), "{{class}}"),
            width=6,
        ),
        lines(
            "Retries not made",
            "unsafe: a write that may have been executed; attempts, deadline, budget: there were no more.",
            "reqps",
            Query(rate("xero_proxy_retries_suppressed_total", by="reason"), "{{reason}}"),
            width=6,
        ),
        lines(
            "Refused without a send",
            "Requests that could not be sent in time, or had no room.",
            "reqps",
            Query(rate("xero_proxy_shed_total", by="reason"), "{{reason}}"),
            width=6,
        ),
        lines(
            "Callers that left",
            "Before the end of their answer, by the stage in which they left.",
            "reqps",
            Query(rate("xero_proxy_client_disconnects_total", by="stage"), "{{stage}}"),
            width=6,
        ),
    )
