"""The table of the faults, from the tests: `python -m tests.faults > deploy/faults.md`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE = "deploy/faults.md"
INTRO = """\
# Faults

What goes wrong around the sidecar, and what it does then. Each row is a test in `tests/faults`, over real
sockets or processes, and what stands on the right is that test's docstring. In Xero's place stands an origin
with a ledger, a line for each request that it executed: no write is ever in it twice, and none under two
keys. After a fault the slots are free, the calls counted rightly, and a good request works. An answer about
a write whose outcome is unknown says so, and has no `Retry-After`, for SDKs would send the write again.
"""
SPELLED = {
    "1 0": "1.0",
    "20 000": "20,000",
    "half open": "half-open",
    "mid body": "mid-body",
    "mid upload": "mid-upload",
    "retry after": "`Retry-After`",
    "sigterm": "SIGTERM",
    "tls": "TLS",
}
"""What a function's name cannot say."""


def table() -> str:
    """The whole document."""
    parts = [INTRO]
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = ast.parse(path.read_text("utf-8"))
        heading = (ast.get_docstring(module) or "").partition("\n")[0].rstrip(".")
        rows = "".join(f"| {fault} | {right} |\n" for fault, right in faults(module))
        parts.append(f"## {heading}\n| fault | right behaviour |\n|---|---|\n{rows}")
    return "\n".join(parts)


def faults(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Each test's name in words, and its docstring in one line; empty where there is none."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            right = " ".join((ast.get_docstring(node) or "").split()).replace("|", "\\|")
            if any("xfail" in ast.unparse(mark) for mark in node.decorator_list):
                right += " **Not yet so.**"
            yield _words(node.name), right


def _words(name: str) -> str:
    text = name.removeprefix("test_").replace("_", " ")
    for written, spelled in SPELLED.items():
        text = re.sub(rf"\b{written}(s?)\b", rf"{spelled}\1", text)
    return text


if __name__ == "__main__":
    sys.stdout.write(table())
