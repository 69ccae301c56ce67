"""What the manifests of Kubernetes and Compose have in common: settings, programs, the sidecar's paths."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from config.settings import PREFIX, Settings, describe, read_settings
from tests.deploy.tools import tool

ROOT = Path(__file__).parents[2]
SETTINGS = {doc.name for doc in describe()} | {f"{doc.name}_FILE" for doc in describe() if doc.secret}


def load(path: Path) -> Any:
    """A file of YAML with one document."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def program(name: str) -> str:
    """A program that the locks install beside the interpreter, or else the machine's."""
    own = Path(sys.executable).with_name(name)
    return str(own) if own.exists() else tool(name, f"{name}, or make setup")


def output(*command: str | Path) -> str:
    """What a command prints. Fails the test with what it complains of."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.fail(f"{Path(command[0]).name} exits {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def settings_of(environment: Mapping[str, str], spool: Path) -> Settings:
    """The settings that an environment makes, with spool and state elsewhere than in a container.

    A name that is no setting, or a value that is refused, fails the test.
    """
    own = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    assert own.keys() <= SETTINGS
    here = {f"{PREFIX}SPOOL_DIR": str(spool), f"{PREFIX}STATE_FILE": str(spool / "state.db")}
    return read_settings({**own, **here})
