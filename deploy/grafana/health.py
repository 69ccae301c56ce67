"""Is it well, and what is left."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.grafana.panels import HALF, THIRD, Panel, Query, bars, figure, lines
from deploy.grafana.queries import API, ERRORS, MADE, TENANT, rate

DAY = f'xero_proxy_limit_remaining{{limit="day",{TENANT}}}'


def is_it_well() -> Sequence[Panel]:
    """Availability, holds, 429s and the answers that the proxy makes."""
    requests = "increase(xero_proxy_requests_total{%s}[$__range])"
    failed = f"sum ({requests % f'{ERRORS},{API}'}) or vector(0)"
    return (
        figure(
            "Availability",
            "Share of requests in the range shown that were not answered with a 429 or a 5xx.",
            "percentunit",
            Query(f"1 - ({failed}) / sum ({requests % API})", "available"),
            (None, "red"),
            (0.95, "orange"),
            (0.99, "green"),
            width=THIRD // 2,
            nothing="no requests",
        ),
        figure(
            "Sidecars",
            "How many are scraped, by version.",
            "short",
            Query("count by (version) (xero_proxy_build_info)", "{{version}}"),
            width=THIRD // 2,
            nothing="none is scraped",
        ),
        bars(
            "Holds now",
            "Time left; 0 means that a probe is due or out. * is an app or an API as a whole.",
            "s",
            Query(
                'max by (tenant, reason) (xero_proxy_hold_seconds{tenant=~"$tenant|[*]"})',
                "{{tenant}}: {{reason}}",
            ),
            (None, "orange"),
            nothing="nothing is held",
        ),
        bars(
            "Connections lost",
            "Organisations and apps (*) that Xero refuses until somebody connects them again.",
            "short",
            Query(
                'max by (tenant, reason) (xero_proxy_connections_lost{tenant=~"$tenant|[*]"})',
                "{{tenant}}: {{reason}}",
            ),
            (None, "orange"),
            nothing="nothing is lost",
        ),
        lines(
            "429s from Xero",
            "Attempts that met a limit. They hold their scope and are tried again; while nobody else uses "
            "the same limit there are none.",
            "reqps",
            Query(rate("xero_proxy_attempts_total", f'class=~"limit_.*",{API}', "class"), "{{class}}"),
        ),
        lines(
            "Requests by status",
            "What callers were answered.",
            "reqps",
            Query(rate("xero_proxy_requests_total", API, "status"), "{{status}}"),
            stacked=True,
        ),
        lines(
            "Answers made by the proxy",
            "Answers that did not come from Xero, by class.",
            "reqps",
            Query(rate("xero_proxy_requests_total", f'class=~"{MADE}",{API}', "class"), "{{class}}"),
            stacked=True,
        ),
        lines(
            "Holds begun",
            "How often an organisation, an app or an API was stopped, by reason.",
            "short",
            Query(
                "sum by (reason) (increase(xero_proxy_holds_total[$__rate_interval]))",
                "{{reason}}",
            ),
        ),
    )


def what_is_left() -> Sequence[Panel]:
    """The budgets, how long they last, and who else spends them."""
    return (
        bars(
            "Day's budget lasts",
            "Calls left today over those spent in the last half hour, if it goes on like that. Organisations "
            "that spend nothing have no bar.",
            "s",
            Query(
                f"min by (tenant) ({DAY} / ((max_over_time({DAY}[30m]) - {DAY}) / 1800 > 0))", "{{tenant}}"
            ),
            (None, "red"),
            (4 * 3600.0, "orange"),
            (86400.0, "green"),
            nothing="nothing is spent",
        ),
        lines(
            "Calls left today",
            "As Xero's headers and the proxy's own count say.",
            "short",
            Query(f"min by (tenant) ({DAY})", "{{tenant}}"),
            Query(f'min by (tenant) (xero_proxy_limit{{limit="day",{TENANT}}})', "{{tenant}}: limit"),
        ),
        lines(
            "Calls left this minute",
            "Near zero is what a backlog looks like: the limit is used, not exceeded.",
            "short",
            Query(
                f'min by (tenant) (xero_proxy_limit_remaining{{limit="minute",{TENANT}}})',
                "{{tenant}}",
            ),
        ),
        lines(
            "Calls left this minute, app",
            "Over all organisations of an app.",
            "short",
            Query('min by (app) (xero_proxy_limit_remaining{limit="appminute"})', "app {{app}}"),
            width=HALF,
        ),
        lines(
            "Calls of others",
            "What somebody else spends of the same limits, a minute.",
            "short",
            Query(
                f"60 * {rate('xero_proxy_foreign_calls_total', TENANT, 'tenant')}",
                "{{tenant}}",
            ),
            width=HALF,
        ),
    )
