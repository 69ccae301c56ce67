"""Rules by promtool; then a real Prometheus scrapes the demo, and every query of deploy/ is asked of it."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from tests import servers
from tests.deploy import queries
from tests.deploy.browser import chromium
from tests.deploy.load import HOSTILE, demo
from tests.deploy.prometheus import Prometheus, prometheus
from tests.deploy.tools import tool

ALERTS_MOST = 12
IDLE = {
    "max by (instance) (xero_proxy_spool_bytes)": "the demo's bodies are small, and the large one is refused",
    "rate(xero_proxy_log_dropped_total[5s])": "the demo's log is a file, which takes every line",
    "increase(xero_proxy_store_leases_lost_total[5s])": "the demo's process never stands still",
}
"""Queries that are zero all the time, and why."""
ABSENT = {
    'min by (job, namespace, instance) (xero_proxy_store_up{kind="sqlite"})': "the demo's store is shared",
}
"""Queries that find nothing, and why."""
TROUBLE = range(2, 5)
"""After which lines of the demo's, one every three seconds: Prometheus takes five to find its target."""
GRAFANA = {"__rate_interval": "5s", "__range": "30s", "tenant": ".*", "api": ".*"}
QUERIES = dict(chain(queries.of_dashboard(**GRAFANA), queries.of_rules(), queries.of_console("5s")))
SERVER_SIDE = re.compile(r"(?:ALERTS|%q)")


def promtool(*arguments: object, text: bytes = b"") -> str:
    """What promtool says, which must be content."""
    command = (tool("promtool", "prometheus"), *map(str, arguments))
    done = subprocess.run(command, input=text, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", queries.RULES)


def test_each_alert_fires_and_stays_quiet_as_its_tests_say() -> None:
    promtool("test", "rules", queries.RULES_TEST)


def test_no_alert_is_without_a_test_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    text = queries.RULES_TEST.read_text(encoding="utf-8")
    for alert in queries.alerts():
        assert re.search(rf"alertname: {alert}, eval_time: \w+, exp_alerts: \[\]", text), alert
        assert re.search(rf"alertname: {alert}\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", text), alert


def test_alerts_are_few_and_each_says_what_it_is_and_has_its_page() -> None:
    found = queries.alerts()
    assert len(found) <= ALERTS_MOST
    for alert, rule in found.items():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url"}
        assert notes["runbook_url"] == '{{ or $externalLabels.runbooks "deploy/runbooks" }}/' + f"{alert}.md"
    assert {page.stem for page in queries.RUNBOOKS.glob("Xero*.md")} == found.keys()


@pytest.mark.parametrize("alert", queries.alerts())
def test_a_runbook_says_what_it_means_how_to_confirm_and_what_to_do(alert: str) -> None:
    page = (queries.RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["What it means", "How to confirm", "What to do"]
    for variable in re.findall(r"XERO_PROXY_\w+", page):
        assert variable in Path("README.md").read_text(encoding="utf-8"), variable


@dataclass(frozen=True, slots=True)
class Scraped:
    """A Prometheus that has scraped a whole demo, from `start` to `end`, and what the sidecar exposed and
    the console showed meanwhile."""

    prometheus: Prometheus
    start: float
    end: float
    plain: bytes
    page: str

    def values(self, expression: str) -> list[float]:
        return self.prometheus.values(expression, self.start, self.end)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    plain, page = b"", ""
    directory = tmp_path_factory.mktemp("prometheus")
    with servers.valkey_server() as shared, prometheus((one := demo(shared)).target, directory) as running:
        start = running.now()
        progress = (line for line in one.run(directory) if " waiting " in line)
        for number, _ in enumerate(progress):
            if number in TROUBLE:
                one.trouble(number)
                plain = one.metrics("text/plain")
                page = running.page("/consoles/xero-proxy.html")
        yield Scraped(running, start, running.now(), plain, page)


@pytest.mark.parametrize("name", [name for name in QUERIES if not SERVER_SIDE.search(name)])
def test_every_query_has_data(scraped: Scraped, name: str) -> None:
    expression = QUERIES[name]
    values = scraped.values(expression)
    assert bool(values) != (expression in ABSENT), expression
    assert any(values) != (expression in IDLE or expression in ABSENT), expression


def test_a_dashboard_of_two_organisations_and_one_api_has_data(scraped: Scraped) -> None:
    chosen = GRAFANA | {"tenant": "(Harbour Bakery|tide & co)".lower(), "api": "accounting"}
    for name, expression in queries.of_dashboard(**chosen):
        if not re.search("holds|connections lost", name.lower()):
            assert scraped.values(expression), name


def test_the_dashboard_can_offer_every_organisation_and_api(scraped: Scraped) -> None:
    for variable in queries.dashboard()["templating"]["list"][1:]:
        series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]  # it must match
        offered = scraped.prometheus.api(
            f"label/{label}/values", **{"match[]": series, "start": scraped.start, "end": scraped.end}
        )
        assert len(offered) > 1
        assert "*" not in offered


def test_prometheus_takes_the_rules_and_the_exposition(scraped: Scraped) -> None:
    rules = [rule for group in scraped.prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert 1.0 in scraped.values("up")


def test_the_metrics_are_as_prometheus_likes_them(scraped: Scraped) -> None:
    assert promtool("check", "metrics", text=scraped.plain) == ""


def test_the_console_shows_the_tables_that_prometheus_fills_in(scraped: Scraped) -> None:
    assert "1 scraped" in scraped.page
    cells = [html.unescape(cell) for cell in re.findall("<td>([^<]*)</td>", scraped.page)]
    assert {"harbour bakery", "tide & co", HOSTILE} <= set(cells)
    numbers = re.findall(r'<td class="number">([^<]*)</td>', scraped.page)
    assert len(numbers) >= 4 * 10
    assert all(re.match(r"[\d.]+", number) for number in numbers)


async def test_the_console_draws_every_graph_in_a_browser_and_asks_nobody_else(scraped: Scraped) -> None:
    async with chromium() as browser:
        await browser.open(f"{scraped.prometheus.url}/consoles/xero-proxy.html?range=60")
        await browser.until(
            "const all = [...document.querySelectorAll('figure')];"
            "return all.every(figure => figure.querySelector('ul, p'))"
        )
        assert (
            await browser.run("return [...document.querySelectorAll('figure p')].map(p => p.innerText)") == []
        )
        assert await browser.run("return document.querySelectorAll('figure path[d*=L]').length") > 20
        assert f"{HOSTILE} " in await browser.text()
        assert await browser.complaints() == []
        assert {
            url for url in await browser.requested() if not url.startswith(scraped.prometheus.url)
        } == set()
