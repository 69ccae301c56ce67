"""What a set-up installs is what its lock says, whatever has been released since.

The commands of the Makefile run against directories of stub wheels. They have each package of each lock, an
extra of each that other packages ask for, and a newer release of each, which no lock knows.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.markers import Marker

from deploy.locks import Locked, read_lock

ROOT = Path(__file__).parents[1]
NEWER = "99999"
INDEX = "index.html"
BACKEND = """
import zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "xero_proxy-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        info = "xero_proxy-0.1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: xero-proxy\\nVersion: 0.1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
"""A build backend in the place of the real one."""
OURS = {"pip", "setuptools", "xero-proxy"}
"""What an environment begins with, and what is set up."""
PLAIN = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the repository whose locks name stub wheels."""

    root: Path
    environ: dict[str, str]

    def run(self, *command: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
        environ = self.environ if path is None else {**self.environ, "PATH": path}
        return subprocess.run(
            command, cwd=self.root, env=environ, check=False, capture_output=True, text=True, timeout=300
        )

    def make(self, *goals: str) -> None:
        done = self.run("make", "--no-print-directory", f"PYTHON={sys.executable}", "VENV=.venv", *goals)
        assert done.returncode == 0, done.stdout + done.stderr

    def lock(self, name: str) -> list[Locked]:
        return read_lock((self.root / name).read_text("utf-8"))

    def installed(self, environment: str) -> dict[str, str]:
        """What is in an environment besides what it begins with and this project."""
        pip = (sys.executable, "-m", "pip", "--python", self.root / environment / "bin/python", "list")
        done = self.run(*pip, "--format=json")
        found = {each["name"]: each["version"] for each in json.loads(done.stdout)}
        return {name: version for name, version in found.items() if name not in OURS}


def wanted(*locks: list[Locked]) -> dict[str, str]:
    """What of these locks is for this Python."""
    return {
        each.name: each.version
        for lock in locks
        for each in lock
        if each.name not in OURS and (not each.marker or Marker(each.marker).evaluate())
    }


def write_stub(directory: Path, name: str, version: str, requires: list[str]) -> str:
    """A wheel with nothing in it, and a link to it on the page of the index; the sha256 of it."""
    plain = re.sub(r"[-_.]+", "_", name).lower()
    path = directory / f"{plain}-{version}-py3-none-any.whl"
    info = f"{plain}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Provides-Extra: more"]
    metadata += [f"Requires-Dist: {each}" for each in requires]
    files = {f"{info}/METADATA": "\n".join(metadata) + "\n"}
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if name == "hatchling":
        files |= {"hatchling/__init__.py": "", "hatchling/build.py": BACKEND}
    record = [
        f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for file, text in files.items()
    ]
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with (directory.parent / INDEX).open("a", encoding="utf-8") as index:
        index.write(f'<a href="{directory.name}/{path.name}#sha256={digest}">{path.name}</a>\n')
    return digest


def stub_lock(entries: list[Locked], wheels: Path) -> str:
    """The same lock over stub wheels, each of which asks for an extra of what it needs."""
    wheels.mkdir()
    lines = []
    for each in entries:
        requires = [
            f"{other.name}[more]>=0" + (f" ; {other.marker}" if other.marker else "")
            for other in entries
            if each.name in other.needed_by
        ]
        digest = write_stub(wheels, each.name, each.version, requires)
        write_stub(wheels, each.name, NEWER, requires)
        marker = f" ; {each.marker}" if each.marker else ""
        needed_by = "".join(f"\n    # via {name}" for name in sorted(each.needed_by))
        lines.append(f"{each.name}=={each.version}{marker} \\\n    --hash=sha256:{digest}{needed_by}\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("setup")
    root = folder / "repository"
    root.mkdir()
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    left_out = shutil.ignore_patterns("__pycache__", "wheels", "node_modules")
    for name in ("config", "deploy", "proxy", "tests/clients", "tests/bench/peers"):
        shutil.copytree(ROOT / name, root / name, ignore=left_out)
    for name in ("tests/__init__.py", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, root / name)
    for path in root.rglob("*"):
        if path.suffix in (".lock", ".txt") and "--hash=sha256:" in (text := path.read_text("utf-8")):
            path.write_text(
                stub_lock(read_lock(text), folder / "-".join(path.relative_to(root).parts)), "utf-8"
            )
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "CLIENTS"))}
    return Copy(root, {**environ, **PLAIN, "PIP_FIND_LINKS": str(folder / INDEX)})


def test_running_gets_what_it_needs_and_nothing_else_and_the_checks_add_the_rest(copy: Copy) -> None:
    running = [copy.lock("deploy/build.lock"), copy.lock("requirements.lock")]
    copy.make("setup")
    assert copy.installed(".venv") == wanted(*running)
    checking = [*running, copy.lock("requirements-dev.lock"), copy.lock("deploy/requirements.lock")]
    copy.make(".venv/.set-up-deploy", ".venv/.set-up-bench-tools")
    assert copy.installed(".venv") == wanted(*checking, copy.lock("tests/bench/peers/tools.txt"))


def test_each_client_gets_what_its_lock_says(copy: Copy) -> None:
    done = copy.run(sys.executable, "-m", "tests.clients.install", path="")  # without Node
    assert done.returncode == 0, done.stderr
    for lock in (copy.root / "tests/clients/locks").glob("*.txt"):
        environment = f".clients/{lock.stem}"
        if lock.stem == "openapi":
            [wheel] = (copy.root / environment).glob("*.whl")
            assert NEWER not in wheel.name
        else:
            assert copy.installed(environment) == wanted(copy.lock(f"tests/clients/locks/{lock.name}"))


def test_what_a_lock_lacks_is_an_error_that_names_it(copy: Copy, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    lock = tmp_path / "lacking.txt"
    entries = (copy.root / "requirements.lock").read_text("utf-8").split("\n")
    start = next(place for place, line in enumerate(entries) if line.startswith("yarl=="))
    lock.write_text("\n".join(entries[:start]), "utf-8")
    named = Copy(copy.root, {**copy.environ, "PIP_PYTHON": str(environment / "bin/python")})
    done = named.run(copy.root / "deploy/install-lock", sys.executable, lock)
    assert done.returncode == 1
    assert "yarl" in done.stderr


def test_nothing_else_lets_pip_resolve() -> None:
    installs = re.compile(r"\bpip\b.*\b(?:wheel|install|download)\b")
    folders = [path for name in (".ci", "deploy", "tests/clients") for path in (ROOT / name).rglob("*")]
    for path in (
        ROOT / "Makefile",
        *(path for path in folders if path.suffix in ("", ".py", ".yml", ".yaml")),
    ):
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                assert not installs.search(line) or "--no-deps" in line or "apt-get" in line, (
                    f"{path}: {line}"
                )
