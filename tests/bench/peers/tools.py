"""What the bench needs that Python does not bring: where it is, which version, and what to do without it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

APT = "apt-get install -y nginx haproxy wrk nodejs"
HINTS = {"envoy": "make bench-tools"}
CORES = 2
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_ASKED = {"nginx": "-v", "haproxy": "-v", "wrk": "-v", "node": "--version", "envoy": "--version"}


def find(name: str) -> str | None:
    """The path of a program: of this environment's wheel, on PATH, or where administrators have theirs."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    if name == "envoy" and (spec := importlib.util.find_spec("envoy")) and spec.origin:
        path = os.pathsep.join((str(Path(spec.origin).with_name("_bin")), path))
    return shutil.which(name, path=path)


def version(name: str) -> str:
    """What a program says of itself, reduced to the number."""
    program = find(name)
    if program is None:
        return "missing"
    said = subprocess.run((program, _ASKED[name]), capture_output=True, text=True, check=False)
    found = _VERSION.search((said.stdout + said.stderr).replace(program, ""))
    return found[0] if found else "of unknown version"


def missing(name: str) -> str | None:
    """Why this program cannot take part; None where it can."""
    return None if find(name) else f"{name} is missing ({HINTS.get(name, APT)})"


def cores() -> tuple[int, int] | None:
    """One core for the proxies and one for the load and the upstream; None where there are not two."""
    if not hasattr(os, "sched_getaffinity"):  # only Linux can pin
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) >= CORES else None


if __name__ == "__main__":
    absent = [reason for name in _ASKED if (reason := missing(name))]
    print("\n".join(absent) or "Everything that the bench compares with is here.")
