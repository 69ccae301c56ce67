"""The dashboard is what its code makes, Grafana's own types take it, and it asks only for what there is."""

from __future__ import annotations

import json
import re
from itertools import chain

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from config.apis import load_apis
from config.responses import load_responses
from deploy.grafana.dashboard import as_json
from proxy.core.answers.answers import OWN
from proxy.core.model import Limit
from tests.deploy import queries
from tests.e2e.harness import sidecar

SCRAPED = {"up"}
"""What Prometheus itself adds."""
ROWS = [
    "Is it well",
    "What is left",
    "Why is it slow",
    "What failed",
    "What it costs",
    "Where limits are kept",
    "The process",
]
EXPRESSIONS = dict(chain(queries.of_dashboard(), queries.of_rules(), queries.of_console("5m")))


def class_names() -> set[str]:
    table = load_responses()
    listed = {row.response.name for rows in table.rows.values() for row in rows}
    return listed | {row.name for row in table.hundreds.values()} | OWN.keys()


def test_the_dashboard_is_what_its_code_makes() -> None:
    committed = queries.DASHBOARD.read_text(encoding="utf-8")
    assert committed == as_json(), "python -m deploy.grafana.dashboard > deploy/grafana/xero-proxy.json"


def test_grafanas_types_take_the_dashboard_and_lose_nothing_of_it() -> None:
    document = queries.dashboard()
    read = Dashboard.from_json(document)
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == document


def test_the_rows_stand_in_the_order_in_which_an_engineer_asks() -> None:
    panels = sorted(queries.dashboard()["panels"], key=lambda panel: panel["gridPos"]["y"])
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == ROWS


def test_panels_lie_on_the_grid_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in queries.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place.get("x", 0) + x, place.get("y", 0) + y)
            for x in range(place["w"])
            for y in range(place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_keeps_its_address_and_asks_the_data_source_that_is_chosen() -> None:
    document = queries.dashboard()
    assert document["uid"] == "xero-proxy"
    variables = {variable["name"]: variable for variable in document["templating"]["list"]}
    assert list(variables) == ["datasource", "tenant", "api"]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    asked = [panel for panel in document["panels"] if panel["type"] != "row"]
    for one in (variables["tenant"], variables["api"], *asked, *(t for p in asked for t in p["targets"])):
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)


def test_rates_follow_the_zoom() -> None:
    for name, expression in queries.of_dashboard():
        windows = set(re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]+)\]", expression))
        assert windows <= {"$__rate_interval", "$__range"}, name


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_value_that_a_query_compares_with_exists(name: str) -> None:
    known: dict[str, set[str]] = {
        "class": class_names(),
        "limit": set(Limit),
        "api": {family.name for family in load_apis().values()},
    }
    for label, values in known.items():
        for pattern in queries.matched(EXPRESSIONS[name], label) - {"$api"}:
            assert any(re.fullmatch(pattern, value) for value in values), (label, pattern)


async def test_every_metric_that_a_query_asks_for_is_exposed() -> None:
    async with sidecar("http://127.0.0.1:1") as running:
        text = (await running.admin("/metrics")).decode()
    exposed = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)) | SCRAPED
    asked = {name: queries.metrics(expression) for name, expression in EXPRESSIONS.items()}
    assert {name: unknown for name, metrics in asked.items() if (unknown := metrics - exposed)} == {}
    recorded = {rule["record"] for rule in queries.rules() if "record" in rule}
    named = set(re.findall(r"\w+:\w+:\w+", " ".join(EXPRESSIONS.values())))
    assert named <= recorded


async def test_no_metric_of_the_sidecar_is_left_out_of_the_dashboard() -> None:
    async with sidecar("http://127.0.0.1:1") as running:
        text = (await running.admin("/metrics")).decode()
    exposed = set(re.findall(r"^# TYPE (xero_proxy_\S+) ", text, re.MULTILINE))
    shown = set().union(*(queries.metrics(expression) for _, expression in queries.of_dashboard()))
    assert exposed - shown == set()
