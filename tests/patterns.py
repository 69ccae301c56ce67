"""Every pattern of the product against texts that make a backtracking one search for ever.

`python -m tests.patterns` collects them and tries them all within a limit on the processor's time. The name
of each is printed before its turn: the last one is the one that was too slow.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("proxy", "config")
SIZE = 64 * 1024
MOST = 8
"""Of the texts that are tried in one place; more find nothing more."""
BREAKERS = ("", "@", "\n")
CHARACTERS = 'a0 ;"\\=,\tZ-._:/*@\x00\xff'
FUNCTIONS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
SCANS = frozenset(FUNCTIONS) - {"match", "fullmatch"}

_parser: Any = importlib.import_module("re._parser")


@dataclass(frozen=True)
class Compiled:
    """A pattern, where it stands (`path:line`), and whether it is looked for anywhere in a text."""

    where: str
    pattern: re.Pattern[Any]
    scans: bool = False


# --- which patterns there are


def collect() -> list[Compiled]:
    """Every pattern that the modules compile when they are imported, and those that stand in a call."""
    seen = _compiled_at_import()
    found: dict[Compiled, None] = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        uses = _uses(tree)
        for call, names in _calls(tree):
            lines = range(call.lineno, (call.end_lineno or call.lineno) + 1)
            here = [each for line in lines for each in seen.get((str(path), line), ())] or _literal(call)
            where = f"{path.relative_to(ROOT)}:{call.lineno}"
            if not here:
                raise LookupError(f"{where}: nobody can see this pattern; let it be compiled at import")
            used = {use for name in names for use in uses.pop(name, ())} | {_function(call)}
            for text, flags in here:
                found[Compiled(where, re.compile(text, flags), bool(used & SCANS))] = None
        if unknown := [name for name, used in uses.items() if used & SCANS - {"split"}]:
            raise LookupError(f"{path.relative_to(ROOT)}: which pattern is {', '.join(unknown)}?")
    return list(found)


def _compiled_at_import() -> dict[tuple[str, int], list[tuple[Any, int]]]:
    """Text and flags of what is compiled while everything is imported, by file and line."""
    seen: dict[tuple[str, int], list[tuple[Any, int]]] = {}
    compile_ = re.compile

    def record(pattern: Any, flags: int = 0) -> Any:
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        if isinstance(pattern, str | bytes):
            place = (frame.f_back.f_code.co_filename, frame.f_back.f_lineno)
            seen.setdefault(place, []).append((pattern, int(flags)))
        return compile_(pattern, flags)

    re.compile = record
    try:
        for package in PACKAGES:
            for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
        importlib.import_module("config.responses").load_responses()
    finally:
        re.compile = compile_
    return seen


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, list[str]]]:
    """Calls of `re`, with the names that a compiled pattern is given. What has no name is matched from its
    start alone; `collect` does not let it be used in another way.
    """
    named = {
        id(value): [target.id for target in each.targets if isinstance(target, ast.Name)]
        for each in ast.walk(tree)
        if isinstance(each, ast.Assign)
        for value in [each.value]
    }
    for each in ast.walk(tree):
        if isinstance(each, ast.ImportFrom) and each.module == "re":
            raise LookupError("`import re`, so that its patterns can be found")
        if isinstance(each, ast.Call) and _function(each) in {"compile", *FUNCTIONS}:
            yield each, named.get(id(each), [])


def _function(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(value=ast.Name(id="re"), attr=name):
            return name
    return ""


def _literal(call: ast.Call) -> list[tuple[Any, int]]:
    try:
        return [(ast.literal_eval(call.args[0]), 0)]
    except ValueError:
        return []


def _uses(tree: ast.Module) -> dict[str, set[str]]:
    """How each name's attributes are used, where they are those of a pattern."""
    uses: dict[str, set[str]] = {}
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and each.attr in FUNCTIONS and ast.unparse(each.value) != "re":
            uses.setdefault(ast.unparse(each.value), set()).add(each.attr)
    return uses


# --- texts that are hard for a pattern


def attacks(pattern: re.Pattern[Any]) -> Iterator[str]:
    """For each repeat: what leads to it, then `SIZE` characters that it takes, in more than one way if there
    is more than one, then something that does not fit.
    """
    for before, inside in _repeats(list(_parser.parse(pattern.pattern, pattern.flags)), [""]):
        pumps = [text for text in inside if text]
        pairs = ["".join(pair) for pair in itertools.permutations(pumps[:5], 2)]
        for pump in _few(pumps + pairs):
            for breaker in BREAKERS:
                yield before[0] + pump * (SIZE // len(pump)) + breaker
            yield (before[0] + pump) * (SIZE // len(before[0] + pump))


def _repeats(parts: list[Any], before: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Each repeat without a small bound: texts that lead to it, and texts of what is repeated."""
    for part in parts:
        name, value = str(part[0]), part[1]
        for inner in _inside(name, value):
            yield from _repeats(list(inner), before)
        if name.endswith("_REPEAT") and value[1] > 8:
            yield before, _texts(list(value[2]))
        before = _few([lead + text for lead in before for text in _texts([part])])


def _inside(name: str, value: Any) -> list[Any]:
    if name == "BRANCH":
        return list(value[1])
    if name == "SUBPATTERN":
        return [value[3]]
    if name.endswith("_REPEAT"):
        return [value[2]]
    return [value] if name == "ATOMIC_GROUP" else []


def _texts(parts: list[Any]) -> list[str]:
    """Some texts that these parts match."""
    texts = [""]
    for part in parts:
        texts = _few([start + more for start in texts for more in _some(str(part[0]), part[1])])
    return texts


def _some(name: str, value: Any) -> list[str]:
    if name == "LITERAL":
        return [chr(value)]
    if name in {"NOT_LITERAL", "ANY", "IN"}:
        fits = re.compile(_set(name, value), re.DOTALL)
        return [character for character in CHARACTERS if fits.fullmatch(character)][:4] or _first(name, value)
    if name.endswith("_REPEAT"):
        low, high, inner = value
        once = _texts(list(inner))
        counts = sorted({count for count in (low, low + 1, low + 2) if count <= high})
        return _few([text * count for count in counts for text in once])
    return _few([text for inner in _inside(name, value) for text in _texts(list(inner))]) or [""]


def _set(name: str, value: Any) -> str:
    """The class of characters as a pattern of its own."""
    if name == "ANY":
        return "."
    if name == "NOT_LITERAL":
        return f"[^{re.escape(chr(value))}]"
    shown = {"CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w"}
    text = ""
    for kind, what in value:
        match str(kind):
            case "NEGATE":
                text += "^"
            case "LITERAL":
                text += re.escape(chr(what))
            case "RANGE":
                text += f"{re.escape(chr(what[0]))}-{re.escape(chr(what[1]))}"
            case _:
                text += shown[str(what)]
    return f"[{text}]"


def _first(name: str, value: Any) -> list[str]:
    fits = re.compile(_set(name, value), re.DOTALL)
    return [chr(code) for code in range(256) if fits.fullmatch(chr(code))][:2]


def _few(texts: list[str]) -> list[str]:
    """`MOST` of them at most, from everywhere in the list."""
    once = list(dict.fromkeys(texts))
    return once if len(once) <= MOST else once[:: -(-len(once) // MOST)]


def hold(one: Compiled) -> None:
    """Meet every attack; takes for ever where one succeeds."""
    for text in attacks(one.pattern):
        given = text.encode("latin-1") if isinstance(one.pattern.pattern, bytes) else text
        one.pattern.match(given)
        one.pattern.fullmatch(given)
        if one.scans:
            for _ in one.pattern.finditer(given):
                pass


def main(arguments: list[str]) -> None:
    """Try all patterns of the product, or those given, within so many seconds of the processor's time."""
    seconds, *given = arguments
    them = [Compiled(text, re.compile(text), scans=True) for text in given] or collect()
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + int(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    for one in them:
        sys.stdout.write(one.where + "\n")
        sys.stdout.flush()
        hold(one)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main(sys.argv[1:])
