"""The shape of the code as checks that fail the build: who imports whom, who reads a clock, and more.

Each rule takes a module's name and its source and yields what breaks it, so that the rules themselves are
tested on source that breaks them.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[[str, str], Iterator[str]]

ROOT = Path(__file__).parents[1]

LAYERS = (
    ("proxy.core.model", "proxy.core.wire"),
    ("proxy.core.limits", "proxy.core.answers"),
    ("proxy.core.line", "proxy.core.tokens"),
    ("proxy.core",),
    ("proxy.clock", "proxy.worker", "config"),
    ("proxy.observe",),
    ("proxy.stores", "proxy.http"),
    ("proxy.waiting",),
    ("proxy.request",),
    ("proxy.admin",),
    ("proxy.app",),
    ("proxy.process", "proxy.check", "proxy.banner"),
    ("proxy.simulator",),
    ("proxy.demo",),
    ("proxy.cli", "proxy.__main__"),
)
"""A module imports from its own layer and those before it."""

PURE = """
    __future__ abc array base64 binascii bisect collections contextlib dataclasses datetime email enum
    functools hashlib heapq http ipaddress itertools json math operator random re string struct types typing
    urllib zlib
""".split()  # noqa: SIM905 -- as a list it is 28 lines
"""What the core may import besides itself: nothing that waits, reads a clock or does I/O."""

SIMULATOR_USERS = ("proxy.simulator", "proxy.cli", "proxy.demo", "tests")
RANDOM_MAKERS = ("proxy.process", "proxy.cli", "proxy.demo", "proxy.simulator", "tests")
CLOCK_READERS = ("proxy.clock", "tests.bench")
CLOCKS = (
    "time",
    "asyncio.sleep",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path.read_text(encoding="utf-8")
    for package in ("proxy", "config", "tests")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@cache
def nodes(source: str) -> tuple[ast.AST, ...]:
    """All of a module's syntax tree, which every rule looks at."""
    return tuple(ast.walk(ast.parse(source)))


def imports(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, dotted name and local name of everything imported, wherever in the file."""
    for node in nodes(source):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield node.lineno, alias.name, alias.asname or alias.name
            case ast.ImportFrom():
                package = "." * node.level + (node.module or "")
                for alias in node.names:
                    # A dunder (`from proxy import __version__`) or a star is no module of its own.
                    name = package if alias.name[0] in "_*" else f"{package}.{alias.name}"
                    yield node.lineno, name, alias.asname or alias.name


def mentions(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, and of every use of it."""
    bound = {}
    for line, name, local in imports(source):
        yield line, name
        root = local.partition(".")[0]
        bound[root] = name if root == local else root  # `import a.b` binds a
    for node in nodes(source):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root in bound:
                yield node.lineno, f"{bound[root]}.{rest}"


def layer(name: str) -> int | None:
    """The layer that names the module most exactly; None for what is not of this project's making."""
    fits = [(len(part), depth) for depth, parts in enumerate(LAYERS) for part in parts if within(name, part)]
    if name == "proxy":  # the package itself is imported by all of it, so it must import none of it
        return 0
    return max(fits)[1] if fits else None


def imports_point_inwards(name: str, source: str) -> Iterator[str]:
    own = layer(name)
    for line, target, _ in imports(source):
        if own is None:
            continue
        if within(target, "tests"):
            yield f"{name}:{line} imports {target}, which is only for tests"
        elif (other := layer(target)) is not None and other > own:
            yield f"{name}:{line} imports {target}, which is further out"


def every_module_has_its_layer(name: str, _source: str) -> Iterator[str]:
    if within(name, "proxy", "config") and layer(name) is None:
        yield f"{name} is in no layer"


def only_the_command_line_knows_the_simulator(name: str, source: str) -> Iterator[str]:
    for line, target, _ in imports(source):
        if within(target, "proxy.simulator") and not within(name, *SIMULATOR_USERS):
            yield f"{name}:{line} imports {target}, which is only for {', '.join(SIMULATOR_USERS)}"


def the_core_is_pure(name: str, source: str) -> Iterator[str]:
    if not within(name, "proxy.core"):
        return
    for line, target, _ in imports(source):
        if target.split(".")[0] not in PURE and not within(target, "proxy.core"):
            yield f"{name}:{line} imports {target}, which is neither core nor pure"
    for node in nodes(source):
        match node:
            case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await():
                yield f"{name}:{node.lineno} waits"
            case ast.Name(id="open" | "print" | "input"):
                yield f"{name}:{node.lineno} does I/O: {node.id}"


def only_the_clock_reads_time(name: str, source: str) -> Iterator[str]:
    if within(name, *CLOCK_READERS):
        return
    for line, target in mentions(source):
        if within(target, *CLOCKS):
            yield f"{name}:{line} uses {target}"
    for node in nodes(source):
        match node:
            case ast.Attribute(value=owner, attr="time") if ast.unparse(owner).rstrip("()").endswith("loop"):
                yield f"{name}:{node.lineno} reads the event loop's clock"


def randomness_is_an_argument(name: str, source: str) -> Iterator[str]:
    for line, target in mentions(source):
        if within(target, "random") and target not in {"random", "random.Random"}:
            yield f"{name}:{line} uses {target}"
    makers = {"Random", "random.Random"}
    for node in nodes(source):
        match node:
            case ast.Call(func=made) if ast.unparse(made) in makers and not within(name, *RANDOM_MAKERS):
                yield f"{name}:{node.lineno} makes its own randomness"


RULES = (
    imports_point_inwards,
    every_module_has_its_layer,
    only_the_command_line_knows_the_simulator,
    the_core_is_pure,
    only_the_clock_reads_time,
    randomness_is_an_argument,
)

BREACHES: tuple[tuple[Rule, str, str], ...] = (
    (imports_point_inwards, "proxy", "from proxy.app import App"),
    (imports_point_inwards, "proxy.clock", "import proxy.http.body"),
    (imports_point_inwards, "proxy.core.limits.window", "from proxy.core.line import turns"),
    (imports_point_inwards, "proxy.http.body", "from proxy.request import pipeline"),
    (every_module_has_its_layer, "proxy.anything", ""),
    (imports_point_inwards, "config.settings", "from proxy.observe import telemetry"),
    (imports_point_inwards, "proxy.stores.memory", "from proxy.waiting.scheduler import Scheduler"),
    (
        imports_point_inwards,
        "proxy.http.upstream",
        "def late():\n    from proxy.request.pipeline import handle",
    ),
    (imports_point_inwards, "proxy.request.pipeline", "import proxy.app as a"),
    (imports_point_inwards, "proxy.app", "import proxy.cli"),
    (imports_point_inwards, "proxy.http.body", "from tests.fakes import Clock"),
    (only_the_command_line_knows_the_simulator, "proxy.app", "from proxy import simulator"),
    (only_the_command_line_knows_the_simulator, "proxy.request.pipeline", "import proxy.simulator.ledger"),
    (the_core_is_pure, "proxy.core.limits.decision", "import logging"),
    (the_core_is_pure, "proxy.core.limits.decision", "from proxy.clock import Clock"),
    (the_core_is_pure, "proxy.core.limits.decision", "from config import settings"),
    (the_core_is_pure, "proxy.core.limits.decision", "from ..clock import Clock"),
    (the_core_is_pure, "proxy.core.limits.decision", "async def acquire(): ..."),
    (the_core_is_pure, "proxy.core.limits.decision", "print('held')"),
    (only_the_clock_reads_time, "proxy.core.limits.decision", "import time"),
    (only_the_clock_reads_time, "proxy.app", "from time import monotonic as now"),
    (only_the_clock_reads_time, "proxy.app", "import asyncio as a\nnap = a.sleep"),
    (only_the_clock_reads_time, "proxy.app", "from asyncio import sleep"),
    (only_the_clock_reads_time, "proxy.app", "import asyncio.tasks\nasyncio.sleep(1)"),
    (only_the_clock_reads_time, "proxy.app", "from datetime import UTC, datetime\ndatetime.now(UTC)"),
    (only_the_clock_reads_time, "proxy.app", "import datetime as d\nd.date.today()"),
    (only_the_clock_reads_time, "proxy.app", "self._loop.time()"),
    (only_the_clock_reads_time, "tests.test_app", "import asyncio\nnow = asyncio.get_running_loop().time"),
    (randomness_is_an_argument, "proxy.core.answers.retry", "import random\nrandom.uniform(0, 1)"),
    (randomness_is_an_argument, "proxy.cli", "from random import random"),
    (randomness_is_an_argument, "proxy.core.answers.retry", "from random import Random\nRandom(1).random()"),
)

ALLOWED: tuple[tuple[str, str], ...] = (
    (
        "proxy.core.answers.retry",
        "from random import Random\ndef wait(r: Random) -> float:\n    return r.uniform(0, 1)",
    ),
    (
        "proxy.core.limits.decision",
        "import math\nfrom collections.abc import Iterator\nfrom proxy.core.model import Limit",
    ),
    ("proxy.clock", "import asyncio\nimport time\ntime.time()\nasyncio.sleep(1)\nloop.time()"),
    (
        "proxy.http.upstream",
        "import asyncio\nfrom proxy import __version__\nfrom proxy.clock import Clock\nclock.now()",
    ),
    ("proxy.request.pipeline", "from datetime import datetime\ndatetime.fromtimestamp(wall)\nreport.time"),
    (
        "proxy.cli",
        "import random\nfrom proxy.simulator.server import serve\nfrom proxy.app import App\nrandom.Random()",
    ),
    ("tests.test_app", "from proxy.simulator import ledger\nfrom tests import fakes"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_to_the_rule(rule: Rule) -> None:
    assert [breach for name, source in MODULES.items() for breach in rule(name, source)] == []


@pytest.mark.parametrize(("rule", "name", "source"), BREACHES)
def test_a_breach_is_found(rule: Rule, name: str, source: str) -> None:
    assert list(rule(name, source))


@pytest.mark.parametrize(("name", "source"), ALLOWED)
def test_what_is_allowed_is_not_taken_for_a_breach(name: str, source: str) -> None:
    assert [breach for rule in RULES for breach in rule(name, source)] == []


def test_every_rule_has_been_seen_to_fail() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


def test_no_module_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for name, source in MODULES.items():
        for _, target, _ in imports(source):
            if known := [module for module in MODULES if within(target, module)]:
                graph[name].add(max(known, key=len))
    list(TopologicalSorter(graph).static_order())
