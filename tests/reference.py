"""The tables of the README and the reference, from the code: `python -m tests.reference` writes them anew.

A table stands between `<!-- name -->` and `<!-- /name -->`. What can be asked of the code is asked: answers
are made, metrics are counted and scraped, retries are decided.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from config.apis import load_apis
from config.responses import RESPONSES
from config.settings import describe
from proxy.app import REFUSED
from proxy.core.answers.answers import OWN, Answer, Form, failed, refused, written
from proxy.core.answers.retry import Again, Backoff, Budget, decide
from proxy.core.limits.holds import FAILING
from proxy.core.line.refusal import Why
from proxy.core.model import Access, Execution, Limit, ResponseClass
from proxy.core.wire.strict import Refusal
from proxy.http.body import BodyProblem
from proxy.observe.gauges import EVERYBODY
from proxy.observe.label_names import OTHER, TENANTS_MAX
from proxy.observe.store_telemetry import OUTCOMES
from proxy.observe.telemetry import METHODS
from proxy.request.attempt import Gone
from proxy.request.attempts import BACKOFF
from proxy.request.pipeline import CALLER_LEFT
from proxy.request.refreshes import REFRESH, Source
from proxy.request.replies import GATEWAY_TIMEOUT, unkept
from proxy.stores.link import OTHER_REASONS, REASONS
from proxy.stores.state_file import REASONS as FILE_REASONS
from tests.clients.matrix import CLIENTS
from tests.clients.matrix import rows as scenarios
from tests.core.answers.requests import tried
from tests.observe.test_telemetry import REQUEST_FIELDS
from tests.operators import Operators, use_everything
from tests.simulator.tables import controls, failures, orders, resources

ROOT = Path(__file__).parents[1]
STORE_ERRORS = {*REASONS.values(), *OTHER_REASONS, *FILE_REASONS.values(), "other"}
FILES = (ROOT / "README.md", ROOT / "deploy/reference.md")
BLOCK = re.compile(r"<!-- (\w+) -->\n.*?<!-- /\1 -->\n", re.DOTALL)
BAR = "\\|"


def table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(str(cell).replace('|', BAR) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def rows_of(make: Callable[[], Iterable[tuple[str, ...]]]) -> str:
    """A table of which the heads are the first row."""
    heads, *rows = make()
    return table(heads, rows)


def code(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def document() -> dict[str, Any]:
    return tomllib.loads(RESPONSES.read_text("utf-8"))


def settings() -> str:
    rows = []
    for doc in describe():
        unit = f" ({doc.unit})" if doc.unit else ""
        secret = "; a secret, so `_FILE` works too" if doc.secret else ""
        rows.append((f"`{doc.name}`", f"`{doc.default}`" if doc.default else "", doc.meaning + unit + secret))
    return table(("variable", "default", "meaning"), rows)


def own_answers() -> dict[str, list[Answer]]:
    """Every answer of the proxy's own, as it is made, by its class; those of one class differ in status."""
    held = (name.removeprefix("refused_") for name, own in OWN.items() if own.form is Form.TEXT)
    made = [refused("", each, 1.0, "then") for each in (*Limit, *held, FAILING, "")]
    made += [refused(why, "", 1.0, "then") for why in (Why.QUEUE_FULL, Why.DRAINING)]
    made.append(refused(Why.QUEUE_FULL, Limit.CONCURRENT, 1.0, "then"))
    made += [each for problem in BodyProblem if isinstance(each := unkept(problem), Answer)]
    made += [failed(REFUSED.get(each, "invalid_request"), status=each.status) for each in Refusal]
    made += [failed(each) for each in OWN if each != CALLER_LEFT]
    made.append(failed("outcome_unknown", status=GATEWAY_TIMEOUT))
    found: dict[str, list[Answer]] = {}
    for answer in made:
        same = found.setdefault(answer.name, [])
        if answer.status not in {each.status for each in same}:
            same.append(answer)
    return found


def answers() -> str:
    made = own_answers()
    rows: list[tuple[object, ...]] = []
    for name, own in OWN.items():
        same = made.get(name)
        if same is None:
            rows.append((f"`{name}`", own.status, "none", "", "", own.when))
            continue
        written_headers, told = written(same[0], "0123456789abcdef")
        headers = {key.lower(): value.decode() for key, value in written_headers}
        body = f"text `{told.decode()}`" if own.form is Form.TEXT else "JSON"
        if problem := headers.get(b"x-rate-limit-problem"):
            body += f", `X-Rate-Limit-Problem: {problem}`"
        statuses = ", ".join(map(str, sorted(answer.status for answer in same)))
        error = f"`{own.error}`" if own.error else "what failed"
        wait = "yes" if b"retry-after" in headers else "no"
        rows.append((f"`{name}`", statuses, body, error, wait, own.when))
    return table(("class", "status", "body", "`error=`", "`Retry-After`", "when"), rows)


def responses() -> str:
    rows = []
    for row in document()["row"]:
        executed = f"{row['execution']}, proves" if row.get("proves") else row["execution"]
        status = row.get("status", "no answer")
        statuses = ", ".join(map(str, status)) if isinstance(status, list) else status
        source = row["source"]
        sources = ", ".join(source) if isinstance(source, list) else source
        rows.append((f"`{row['class']}`", statuses, _conditions(row), executed, _hold(row), sources))
    return table(("class", "status", "if", "executed", "holds", "source"), rows)


def _conditions(row: dict[str, Any]) -> str:
    found = [f"`{name}: {pattern}`" for name, pattern in row.get("header", {}).items()]
    if "api" in row:
        found.append(f"API `{row['api']}`")
    if body := row.get("body"):
        found.append(" or ".join(f"`{text}`" for text in (body if isinstance(body, list) else [body])))
    if row.get("kept"):
        found.append("the connection had carried another request")
    return "; ".join(found)


def _hold(row: dict[str, Any]) -> str:
    if (hold := row.get("hold")) is None:
        return "counts towards `failing`" if row.get("breaks") else ""
    whom = {"tenant": "organisation", "app": "app", "api": "API", "host": "host"}[hold["scope"]]
    named = {
        "retry_after": "for `Retry-After`, where there is one",
        "offline": "for `OFFLINE_BACKOFF_SECONDS`",
        "backoff": "with backoff",
    }
    seconds = hold["seconds"]
    return f"{whom}, `{hold['reason']}`, {named.get(seconds, f'for {seconds} s')}"


def sources() -> str:
    return table(("source", "is"), document()["sources"].items())


def retries() -> str:
    """What `decide` says of a first attempt that ended in each way."""
    requests = {
        "GET, HEAD, OPTIONS, DELETE": ("GET", False),
        "POST, PUT, PATCH with a key used for less than 5 minutes that the API honours": ("POST", True),
        "POST, PUT, PATCH otherwise": ("POST", False),
    }
    rows = []
    for name, (method, keyed) in requests.items():
        cells = [name]
        for execution in Execution:
            attempt = tried(method, keyed=keyed, key_used_at=0.0 if keyed else None)
            row = ResponseClass("any", execution)
            attempt.record(row)
            decision = decide(attempt, row, None, inf, 0.0, 0.0, 0.0, Backoff(), Budget(1.0))
            cells.append("yes" if isinstance(decision, Again) else "no")
        rows.append(cells)
    return table(("", *(f"`{execution}`" for execution in Execution)), rows)


def metrics() -> str:
    rows = []
    with closing(Operators()) as operators:
        use_everything(operators)
        for family in operators.registry.collect():
            if not family.name.startswith("xero_proxy_"):
                continue
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
            rows.append((f"`{name}`", family.type, code(labels), family.documentation.rstrip(".")))
    return table(("metric", "type", "labels", "is"), rows)


def labels() -> str:
    tenants = f"by `TENANT_LABEL`, at most {TENANTS_MAX} values, then `{OTHER}`; "
    tenants += f"`{EVERYBODY}` for what concerns an app or an API"
    held = {row["hold"]["reason"] for row in document()["row"] if "hold" in row} | {FAILING}
    disconnects = {row["class"] for row in document()["row"] if row.get("access") == Access.DISCONNECTED}
    rows = (
        ("`api`", code(sorted({family.name for family in load_apis().values()} | {OTHER}))),
        ("`class`", "a class of the tables above"),
        ("`app`", "as `tenant`, for the first 1,000 pairs of both"),
        ("`limit` of `limit`, `limit_remaining`", code(Limit)),
        ("`limit` of `queue_wait_seconds`", code(sorted({*Limit, *held, REFRESH, BACKOFF, "none"}))),
        ("`method`", code(sorted(METHODS | {OTHER}))),
        ("`reason` of `connections_lost`", code(sorted(disconnects))),
        ("`reason` of `hold_seconds`, `holds_total`", code(sorted(held))),
        ("`kind` of `store_up`", code(("memory", "sqlite", "redis"))),
        ("`operation` of `store_…`", code(sorted(said_to("operation")))),
        ("`outcome` of `store_operations_total`", code(sorted(OUTCOMES))),
        ("`reason` of `store_errors_total`", code(sorted(STORE_ERRORS))),
        ("`reason` of `retries_suppressed_total`", code(sorted(said_to("Stop")))),
        ("`reason` of `shed_total`", code(sorted({*Why} | said_to("shed")))),
        ("`source`", code(sorted(Source))),
        ("`stage`", code(sorted(Gone))),
        ("`status`", f"`100` to `599`, `{OTHER}`"),
        ("`tenant`", tenants),
    )
    return table(("label", "values"), rows)


def said_to(function: str) -> set[str]:
    """The texts that calls of `function` anywhere in the proxy have as their first argument."""
    found = set()
    for path in (ROOT / "proxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id=name) | ast.Attribute(attr=name),
                    args=[ast.Constant(value=str(text)), *_],
                ) if name == function:
                    found.add(text)
    return found


def clients() -> str:
    """What `tests.clients` shows; a cell that does not say why not is one that passes there."""
    return table(("", *CLIENTS.values()), scenarios())


def line() -> str:
    return code(REQUEST_FIELDS) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    each.__name__: each
    for each in (settings, answers, responses, sources, retries, metrics, labels, line, clients)
}
TABLES |= {each.__name__: partial(rows_of, each) for each in (controls, orders, failures, resources)}


def renewed(text: str) -> str:
    """`text` with every table as the code has it. Raises KeyError for one that there is not."""
    return BLOCK.sub(lambda block: f"<!-- {block[1]} -->\n{TABLES[block[1]]()}<!-- /{block[1]} -->\n", text)


if __name__ == "__main__":
    for file in FILES:
        file.write_text(renewed(file.read_text("utf-8")), "utf-8")
