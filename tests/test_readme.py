"""What is written for people is true where a machine can tell: tables, links, names, examples."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.settings import describe
from proxy.core.answers.answers import OWN
from proxy.request.pipeline import CALLER_LEFT
from tests.admin_port import TOKEN, serve
from tests.reference import BLOCK, FILES, ROOT, TABLES, own_answers, renewed

README = ROOT / "README.md"
DOCUMENTS = (
    *FILES,
    ROOT / "SECURITY.md",
    ROOT / "deploy/threat-model.md",
    *(ROOT / "deploy/clients").glob("*.md"),
)
SETTINGS = {doc.name for doc in describe()}
SECRETS = {f"{doc.name}_FILE" for doc in describe() if doc.secret}
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([\w-]+))?\)")
CITED = re.compile(r"`((?:tests|proxy|config|deploy)/[\w./-]+)(?:::(\w+))?`")
EXAMPLE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [(each[1], each[2]) for path in DOCUMENTS for each in EXAMPLE.finditer(path.read_text("utf-8"))]
PARSERS = {"sh": ["bash", "-n"], "js": ["node", "--check", "--input-type=module", "-"]}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_table_is_as_the_code_has_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert renewed(text) == text, "python -m tests.reference writes the tables anew"


def test_every_table_stands_somewhere_once() -> None:
    shown = [block[1] for path in FILES for block in BLOCK.finditer(path.read_text("utf-8"))]
    assert sorted(shown) == sorted(TABLES)


def test_a_table_that_is_out_of_date_is_found() -> None:
    text = README.read_text("utf-8")
    assert renewed(text.replace("| `XERO_PROXY_QUEUE_LIMIT` |", "| `XERO_PROXY_QUEUE` |")) == text


def test_every_answer_of_the_proxys_own_is_made_somewhere() -> None:
    assert own_answers().keys() == OWN.keys() - {CALLER_LEFT}


async def test_every_path_of_the_admin_port_is_in_the_reference() -> None:
    text = (ROOT / "deploy/reference.md").read_text("utf-8")
    section = text.partition("## Admin port\n")[2].partition("\n## ")[0]
    shown = set(re.findall(r"`(?:POST )?(/[\w/]*)`", section))
    detail = ""
    async for proxy in serve(TOKEN):
        async with proxy.client.get("/nothing") as response:
            detail = (await response.json())["detail"]
    assert set(re.findall(r"(/[\w/]*)[,.]", detail)) == shown


def headings(path: Path) -> set[str]:
    """The anchors of a document, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in found}


def astray(text: str, path: Path) -> list[str]:
    """What `text`, as the content of `path`, links to or cites and is not there."""
    found = []
    for link, anchor in LINK.findall(text):
        target = path.parent / link if link else path
        if not target.exists() or (anchor and anchor not in headings(target)):
            found.append(f"{link}#{anchor}")
    for file, function in CITED.findall(text):
        cited = ROOT / file
        if not cited.exists() or (function and f"def {function}(" not in cited.read_text("utf-8")):
            found.append(f"{file}::{function}")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_and_name_leads_somewhere(path: Path) -> None:
    assert astray(path.read_text("utf-8"), path) == []


@pytest.mark.parametrize(
    "text", ["[x](NOWHERE.md)", "[x](#nowhere)", "`tests/nowhere.py`", "`tests/test_readme.py::test_nothing`"]
)
def test_what_leads_nowhere_is_found(text: str) -> None:
    assert len(astray(text, README)) == 1


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_variable_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"XERO_PROXY_[A-Z_]*[A-Z]", path.read_text("utf-8")))
    assert named <= SETTINGS | SECRETS


def parses(language: str, source: str) -> bool:
    """Whether the language's own parser takes it. Skips where the parser is missing."""
    if language == "python":
        try:
            compile(source, "README.md", "exec")
        except SyntaxError:
            return False
        return True
    command = PARSERS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here")
    return subprocess.run(command, input=source.encode(), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("language", "source"), EXAMPLES, ids=[source[:30] for _, source in EXAMPLES])
def test_every_example_can_be_parsed(language: str, source: str) -> None:
    assert parses(language, source)


@pytest.mark.parametrize("language", ["python", *PARSERS])
def test_an_example_that_cannot_be_parsed_is_found(language: str) -> None:
    assert not parses(language, "if ( then\n")
