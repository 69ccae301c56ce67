"""The examples of `deploy/clients/*.md`, as files that run: only addresses and credentials are put in."""

from __future__ import annotations

import re
from pathlib import Path

from tests.clients.install import ROOT

PAGES = ROOT / "deploy/clients"
EXAMPLE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SUFFIXES = {"python": ".py", "js": ".mjs", "cjs": ".cjs", "sh": ".sh"}


def write_setup(client: str, folder: Path, values: dict[str, str]) -> Path:
    """Write the first example of a client's page with `values` in the place of what a reader puts in."""
    example = EXAMPLE.search(PAGES.joinpath(f"{client}.md").read_text("utf-8"))
    assert example is not None
    source = example[2]
    for placeholder, value in values.items():
        source = source.replace(placeholder, value)
    path = folder / f"setup{SUFFIXES[example[1]]}"
    path.write_text(source, "utf-8")
    return path
