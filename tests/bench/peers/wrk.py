"""As many requests as go through: wrk, one thread, 64 connections that are kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.bench.peers import TENANTS
from tests.bench.peers.process import Failed, Running, pinned
from tests.bench.peers.requests import token
from tests.bench.peers.tools import find

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("wrk.lua")


class Saturated(NamedTuple):
    """Requests a second, and microseconds of the proxy's CPU for each: 0 where there is none."""

    per_second: float
    cpu_microseconds: float


def saturate(target: Running, path: str, seconds: int, core: int, *, body_bytes: int = 0) -> Saturated:
    """Load a process from this core. Raises `Failed` where an answer was not a success."""
    command = (
        *(
            find("wrk") or "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "--timeout",
            "10s",
            "-s",
            str(SCRIPT),
        ),
        *(f"http://127.0.0.1:{target.port}", "--", path, str(TENANTS), token(), str(body_bytes)),
    )
    before = target.cpu_seconds()
    with pinned(core):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    used = target.cpu_seconds() - before
    if done.returncode:
        raise Failed(f"wrk: {done.stderr}{done.stdout}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["failed"] or not result["requests"]:
        raise Failed(f"{result['failed']} of {result['requests']} requests failed")
    return Saturated(result["requests"] / result["microseconds"] * 1e6, used / result["requests"] * 1e6)
