"""Build the image, run it as it should be run, and print what it takes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from deploy.image import HARDENED, NAME, offline
from deploy.image.engine import ROOT, Engine, EngineError, existing, obstacle, own_engine
from proxy import __version__

STARTS = 5
IDLE_SECONDS = 20
_TICKS = 100
"""A second of processor time in /proc, on every Linux."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the image takes. Sizes are bytes, `start` is seconds, `idle` a share of one core."""

    size: int
    over_base: int
    start: float
    memory: int
    idle: float


def build(engine: Engine) -> None:
    """Tag the image with `NAME`, and with `NAME` and the version."""
    options = ["--build-arg", f"REVISION={_revision()}", "--tag", NAME, "--tag", f"{NAME}:{__version__}"]
    if engine.own:
        offline.download_wheels()
        offline.import_base(engine)
        options += ["--network=none", f"--build-arg=BASE={offline.BASE}", "--build-arg=PIP_NO_INDEX=1"]
    engine.docker("build", "--file", "deploy/Dockerfile", *options, ".", seconds=1800)


def measure(engine: Engine) -> Cost:
    """Start it some times with nobody calling, then leave one alone for `IDLE_SECONDS`."""
    starts = []
    for _ in range(STARTS):
        with _started(engine) as (_, seconds):
            starts.append(seconds)
    with _started(engine) as (one, _):
        before = _ticks(engine, one)
        engine.docker("exec", one, "sleep", str(IDLE_SECONDS))
        spent = _ticks(engine, one) - before
        memory = engine.docker("exec", one, "grep", "VmRSS", "/proc/1/status").split()[1]
        over_base = engine.docker("exec", one, "du", "--bytes", "--summarize", "/opt/xero-proxy").split()[0]
    return Cost(
        size=int(engine.inspect(NAME, "{{.Size}}")),
        over_base=int(over_base),
        start=median(starts),
        memory=int(memory) * 1024,
        idle=spent / _TICKS / IDLE_SECONDS,
    )


@contextlib.contextmanager
def _started(engine: Engine) -> Iterator[tuple[str, float]]:
    """A container that listens, and the seconds that its process took until then."""
    with engine.container("--network=none", *HARDENED, NAME) as one:
        engine.docker("start", one)
        listening = datetime.fromisoformat(engine.logged(one, "listening")["time"]).timestamp()
        yield one, listening - _beginning(engine, one)


def _beginning(engine: Engine, container: str) -> float:
    """When its process began, in seconds since 1970, to a hundredth."""
    now, uptime, stat = engine.docker(
        "exec", container, "sh", "-c", "date +%s.%N; cat /proc/uptime /proc/1/stat"
    ).splitlines()
    return float(now) - float(uptime.split()[0]) + int(stat.rpartition(") ")[2].split()[19]) / _TICKS


def _ticks(engine: Engine, container: str) -> int:
    """Processor time of its process so far, of user and system."""
    fields = engine.docker("exec", container, "cat", "/proc/1/stat").rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def _revision() -> str:
    """The commit that is checked out, marked where files differ from it."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return "unknown"
    asked = [git, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our words
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Build and measure. 1 where that fails, with the reason."""
    engine = existing()
    if engine is None and (reason := obstacle()) is not None:
        sys.stderr.write(f"No Docker engine answers, and none can be started: {reason}\n")
        return 1
    with contextlib.ExitStack() as stack:
        try:
            engine = engine or stack.enter_context(own_engine())
            build(engine)
            cost = measure(engine)
        except EngineError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    fate = "; it went with the engine that was started for it" if engine.own else ""
    sys.stdout.write(
        f"| image, of that over its base | {cost.size / 1e6:.0f} MB, {cost.over_base / 1e6:.1f} MB |\n"
        f"| start of the process to listening | {cost.start * 1000:.0f} ms |\n"
        f"| resident memory, idle | {cost.memory / 1e6:.0f} MB |\n"
        f"| CPU, idle, without the health check | {cost.idle:.2%} of a core |\n"
        f"{NAME}:{__version__} is built{fate}.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
