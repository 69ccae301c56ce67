"""The rows of the corpus, which is no part of this repository."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("RAW_HTTP_CORPUS") or ROOT.parent / "shared" / "corpus" / "raw_http.jsonl")
EXPECTATIONS = Path(__file__).with_name("expectations.toml")
ABSENT = f"SKIPPED: the corpus is not at {CORPUS}; RAW_HTTP_CORPUS may name it"


@dataclass(frozen=True, slots=True)
class Row:
    """A message. `expect` is `accept`, `normalise` (forward, but framed anew), `either` or `reject`."""

    id: str
    kind: str
    raw: bytes
    expect: str

    @property
    def forwards(self) -> bool:
        """Whether the row expects to be forwarded."""
        return self.expect in {"accept", "normalise"}


@dataclass(frozen=True, slots=True)
class Difference:
    """What the proxy does with a row instead of what the row expects, and why."""

    ours: str
    why: str


def read_rows(kind: str) -> list[Row]:
    """The rows of a kind, `request` or `response`; none where the corpus is not there."""
    if not CORPUS.is_file():
        return []
    rows = [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]
    return [
        Row(row["id"], row["kind"], row["raw"].encode("latin-1"), row["expect"])
        for row in rows
        if row["kind"] == kind
    ]


def read_differences() -> dict[str, Difference]:
    """The reviewed differences by the row's id. Raises ValueError where one row has two."""
    found: dict[str, Difference] = {}
    for group in tomllib.loads(EXPECTATIONS.read_text("utf-8"))["difference"]:
        for row in group["rows"]:
            if row in found:
                raise ValueError(f"{row} is there twice")
            found[row] = Difference(group["ours"], group["why"])
    return found


def each(rows: Iterable[Row]) -> pytest.MarkDecorator:
    """Parametrise a test with the rows; skipped where there are none."""
    marked = [pytest.param(row, id=row.id) for row in rows]
    return pytest.mark.parametrize(
        "row", marked or [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=ABSENT))]
    )
