"""A Prometheus that runs, and what it answers."""

from __future__ import annotations

import contextlib
import json
import math
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.queries import CONSOLES, RULES
from tests.deploy.tools import tool

PATIENCE = 30.0
_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs: [{{job_name: xero-proxy, static_configs: [{{targets: ["{target}"]}}]}}]
"""


class Prometheus:
    """At `url`, with the rules and the console of deploy/."""

    def __init__(self, url: str) -> None:
        self.url = url

    def api(self, path: str, **parameters: object) -> Any:
        """The data of an answer of the API; its error is raised."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            answer = json.loads(self.page(f"/api/v1/{path}?{query}"))
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def now(self) -> float:
        """Its clock, seconds since 1970."""
        return float(self.api("query", query="time()")["result"][1])

    def values(self, expression: str, start: float, end: float) -> list[float]:
        """Every number that the expression had between two moments, each second."""
        data = self.api("query_range", query=expression, start=start, end=end, step=1)
        found = [float(value) for series in data["result"] for _, value in series["values"]]
        return [value for value in found if math.isfinite(value)]

    def page(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as response:  # noqa: S310 - our own
            text: str = response.read().decode()
            return text


@contextlib.contextmanager
def prometheus(target: str, directory: Path) -> Iterator[Prometheus]:
    """Run one that scrapes `target` each second, with its data in `directory`."""
    configuration = directory / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=RULES, target=target), encoding="utf-8")
    with subprocess.Popen(
        (
            tool("prometheus", "prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.console.templates={CONSOLES}",
            "--web.listen-address=127.0.0.1:0",
        ),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if "Server is ready" in line:
                    break
            address = _LISTENING.search("".join(said))
            assert address, said
            yield Prometheus(f"http://{address[1]}")
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)
