"""Every PromQL expression in deploy/: of the dashboard, the rules and the console."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "xero-proxy.json"
RULES = DEPLOY / "prometheus" / "rules.yml"
RULES_TEST = DEPLOY / "prometheus" / "rules_test.yml"
CONSOLES = DEPLOY / "prometheus" / "consoles"
CONSOLE = CONSOLES / "xero-proxy.html"
RUNBOOKS = DEPLOY / "runbooks"

_THRESHOLD = re.compile(r" (?:==|>=|>|<) (?:on \([^)]*\) group_left \(\) )?[\d.]+(?: \* \S+)?")
_METRIC = re.compile(r"\b(?:xero_proxy|process|python|scrape)_\w+|\bup\b")


def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return value


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def of_dashboard(**variables: str) -> Iterator[tuple[str, str]]:
    """Title and expression of each target, with values for Grafana's variables."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name in sorted(variables, key=len, reverse=True):
                expression = expression.replace(f"${name}", variables[name])
            yield f"dashboard: {panel['title']} {target['refId']}", expression


def of_rules() -> Iterator[tuple[str, str]]:
    """Name and expression of each rule; of an alert what it compares, without the thresholds."""
    for rule in rules():
        name = rule.get("record") or rule["alert"]
        yield f"rule: {name}", _THRESHOLD.sub("", rule["expr"]) if "alert" in rule else rule["expr"]


def of_console(window: str) -> Iterator[tuple[str, str]]:
    """Each query of the console's graphs and tables; `window` stands for RATE."""
    text = CONSOLE.read_text(encoding="utf-8")
    for query in re.findall(r"data-query='([^']+)'", text):
        yield f"console: {query}", html.unescape(query).replace("RATE", window)
    for quoted in re.findall(r'query ("(?:[^"\\]|\\.)*")', text):
        yield f"console: {quoted}", json.loads(quoted)


def metrics(expression: str) -> set[str]:
    """The metrics that an expression asks for, without what histograms add to their name; none of recorded
    ones.
    """
    plain = re.sub(r"\w+:\w+:\w+", "", re.sub(r'"[^"]*"', "", expression))
    return {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in _METRIC.findall(plain)}


def matched(expression: str, label: str) -> set[str]:
    """The values that an expression compares a label with."""
    found = re.findall(rf'[{{,]\s*{label}(?:=~|=|!=|!~)"([^"]*)"', expression)
    return {value for values in found for value in values.split("|")}
