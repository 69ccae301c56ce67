"""The programs that check what stands in `deploy/`."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """The path of a program. A test without it is skipped; with `DEPLOY_TOOLS=required` it fails."""
    path = shutil.which(name)
    if path is None:
        missing = f"{name} is not here: apt-get install {package}"
        if os.environ.get("DEPLOY_TOOLS") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    return path
