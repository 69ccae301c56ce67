"""What a lock says, as uv writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\\n]+?))?"
    r"(?P<rest> *\\\n(?: +.*\n?)*)",
    re.MULTILINE,
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NEEDED_BY = re.compile(r"# +(?:via +)?([A-Za-z0-9._-]+)(?: \(pyproject\.toml\))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock; `hashes` are those of all its distributions, whichever is installed, `marker`
    says on which Pythons it is (PEP 508; empty: on all).
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    needed_by: frozenset[str]

    @property
    def ref(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(text: str) -> list[Locked]:
    """Every package of a lock, in its order."""
    return [
        Locked(
            entry["name"],
            entry["version"],
            entry["marker"] or "",
            tuple(sorted(_HASH.findall(entry["rest"]))),
            frozenset(_NEEDED_BY.findall(entry["rest"])) - {"via"},
        )
        for entry in _ENTRY.finditer(text)
    ]
