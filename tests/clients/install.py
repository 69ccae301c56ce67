"""Each client and server that the suite needs, in an environment of its own under `.clients/`.

`python -m tests.clients.install` makes what is missing or whose lock has changed, and says what cannot be
made. With `CLIENTS=required` what is missing is an error.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = Path(__file__).parent / "locks"
HOME = ROOT / ".clients"
PYTHON = ("xero-python", "pyxero", "requests", "httpx", "localstack-xero")
OPENAPI = "openapi"
"""Of this package one file is read, and nothing of it ever runs."""
NODE = ("xero-node", "xero-mcp-server", "prism")
OLDEST_NODE = 20


def needed(name: str) -> str:
    """The path of an environment. A test without it is skipped; with `CLIENTS=required` it fails."""
    path = HOME / name
    if not path.joinpath("lock").exists():
        _missing(f"{name} is not installed: python -m tests.clients.install says why")
    return str(path)


def program(name: str) -> str:
    """The path of a program of the machine's, as `needed`."""
    return shutil.which(name) or _missing(f"{name} is not here")


def python(name: str) -> str:
    """The interpreter of a Python environment, as `needed`."""
    return f"{needed(name)}/bin/python"


def _missing(why: str) -> NoReturn:
    if os.environ.get("CLIENTS") == "required":
        pytest.fail(why)
    pytest.skip(why)


def install(name: str) -> None:
    """Make an environment, unless it was made from the same lock. CalledProcessError where that fails."""
    path, stamp = HOME / name, HOME / name / "lock"
    lock = LOCKS / name / "package-lock.json" if name in NODE else LOCKS / f"{name}.txt"
    mark = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text("utf-8") == mark:
        return
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    if name in PYTHON:
        _python(path, lock)
    elif name == OPENAPI:
        _unpack(path, lock)
    else:
        _node(path, lock.parent)
    stamp.write_text(mark, "utf-8")


def _python(path: Path, lock: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    environment = {**os.environ, "PIP_PYTHON": str(path / "bin/python")}
    subprocess.run([ROOT / "deploy/install-lock", sys.executable, lock], env=environment, check=True)


def _unpack(path: Path, lock: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
    options = ["--require-hashes", "--only-binary=:all:", f"--dest={path}", "--requirement", str(lock)]
    subprocess.run([*pip, *options], check=True)
    for wheel in path.glob("*.whl"):
        shutil.unpack_archive(wheel, path, "zip")


def _node(path: Path, lock: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock / name, path)
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(["npm", "ci", *quiet], cwd=path, check=True)  # noqa: S607 - the machine's npm is the one


def _lacks() -> str:
    """What the machine lacks for the Node programs, or nothing."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "node and npm are not here"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S607 - as npm
    return "" if int(version[1:].split(".")[0]) >= OLDEST_NODE else f"node {version.strip()} is too old"


def main() -> int:
    lacks = _lacks()
    for name in (*PYTHON, OPENAPI, *(() if lacks else NODE)):
        install(name)
    if lacks:
        sys.stderr.write(
            f"{lacks}, so {', '.join(NODE)} are left out: Node {OLDEST_NODE} or newer is needed\n"
        )
    return int(bool(lacks) and os.environ.get("CLIENTS") == "required")


if __name__ == "__main__":
    sys.exit(main())
