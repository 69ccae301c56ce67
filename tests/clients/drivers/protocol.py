"""The loop of the drivers in Python."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TENANT = os.environ["TENANT"]
FOLDER = os.environ["FOLDER"]
Step = Callable[..., dict[str, Any]]


def setup() -> dict[str, Any]:
    """What the example of the client's page defines."""
    return runpy.run_path(os.environ["SETUP"])


def digest(content: bytes) -> dict[str, Any]:
    """What a step says of a file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def serve(steps: dict[str, Step], refusal: Callable[[Exception], dict[str, Any] | None]) -> None:
    """Do what comes, until the end of input. `refusal` describes the client's own errors, and no other."""
    steps = {**steps, "burst": _burst(steps["page"], refusal)}
    print("{}", flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        name, *arguments = line.rstrip("\n").split("\t")
        print(json.dumps(_do(steps[name], arguments, refusal)), flush=True)  # noqa: T201 - the protocol


def _do(
    step: Step, arguments: list[str], refusal: Callable[[Exception], dict[str, Any] | None]
) -> dict[str, Any]:
    try:
        return {"ok": True, **step(*arguments)}
    except Exception as error:  # noqa: BLE001 - what the client raises is what is asked
        told = refusal(error) or {"crashed": True, "text": traceback.format_exc()}
        return {"ok": False, "error": type(error).__name__, **told}


def _burst(page: Step, refusal: Callable[[Exception], dict[str, Any] | None]) -> Step:
    """So many reads at once, each of them in a thread of its own."""

    def burst(times: str) -> dict[str, Any]:
        with ThreadPoolExecutor(int(times)) as pool:
            told = list(pool.map(lambda _: _do(page, ["1"], refusal), range(int(times))))
        failed = [each for each in told if not each["ok"]]
        return {"done": len(told) - len(failed), "failed": failed}

    return burst
