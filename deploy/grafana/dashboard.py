"""The dashboard as code: `python -m deploy.grafana.dashboard > deploy/grafana/xero-proxy.json`.

Rows stand in the order in which an engineer asks. Everything is asked of the sidecars' own metrics, so it
works with or without the recording rules. Budgets and holds are joined over sidecars as their meaning asks:
the smallest budget, the longest hold.
"""

from __future__ import annotations

import json
import sys

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.health import is_it_well, what_is_left
from deploy.grafana.panels import DATASOURCE
from deploy.grafana.requests import what_failed, why_is_it_slow
from deploy.grafana.resources import the_process, what_it_costs
from deploy.grafana.store import where_limits_are_kept

UID = "xero-proxy"
ROWS = {
    "Is it well": is_it_well,
    "What is left": what_is_left,
    "Why is it slow": why_is_it_slow,
    "What failed": what_failed,
    "What it costs": what_it_costs,
    "Where limits are kept": where_limits_are_kept,
    "The process": the_process,
}


def dashboard() -> Dashboard:
    """The whole of it. `uid` is fixed, so that links to it outlast a new version."""
    made = (
        Dashboard("xero-proxy")
        .uid(UID)
        .description("Sidecars in front of the Xero API: health, budgets, waiting, failures, cost.")
        .tags(["xero-proxy"])
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_labels("tenant", "Organisation", 'xero_proxy_limit_remaining{tenant!="*"}'))
        .with_variable(_labels("api", "API", "xero_proxy_requests_total"))
    )
    for number, (title, panels) in enumerate(ROWS.items()):
        made.with_row(Row(title).id(100 * (number + 1)))
        for place, panel in enumerate(panels(), start=1):
            made.with_panel(panel.id(100 * (number + 1) + place))
    return made


def as_json() -> str:
    """The dashboard as Grafana reads it."""
    return json.dumps(dashboard().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _labels(name: str, label: str, series: str) -> QueryVariable:
    """The values that a label has, any number of which can be chosen; at first all, the empty one too."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


if __name__ == "__main__":
    sys.stdout.write(as_json())
