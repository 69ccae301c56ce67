"""A Docker engine: the one that this machine has, or one of our own that leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).parents[2]
_PROGRAMS = {"docker": "docker.io", "dockerd": "docker.io", "debootstrap": "debootstrap"}
"""What an engine of our own needs, and the Debian package that has it."""
_START_SECONDS = 60
_STOP_SECONDS = 60
_PLAIN = ("--iptables=false", "--ip6tables=false", "--bridge=none")
_DRIVERS = ("overlay2", "vfs")


class EngineError(Exception):
    """An engine cannot be started, or a command of it failed; the message is its last output."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Runs `docker` against one engine. `own` means that there is no bridge, so no network but the host's."""

    environ: dict[str, str]
    own: bool

    def docker(self, *arguments: str, seconds: float = 600) -> str:
        """Run a command to its end and return what it printed. Raises EngineError where it failed."""
        done = subprocess.run(  # noqa: S603 - the arguments are this project's own
            ["docker", *arguments],  # noqa: S607 - wherever it is installed
            env=self.environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if done.returncode:
            raise EngineError(f"docker {arguments[0]}: {(done.stderr or done.stdout)[-2000:].strip()}")
        return done.stdout.strip()

    def inspect(self, name: str, template: str) -> str:
        """One fact of an image or a container, by Docker's Go template."""
        return self.docker("inspect", "--format", template, name)

    def logged(self, container: str, event: str) -> dict[str, Any]:
        """Wait until the sidecar in a container has logged a line of this event; it."""
        follow = ["docker", "logs", "--follow", container]
        with subprocess.Popen(  # noqa: S603 - the arguments are this project's own
            follow, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as log:
            try:
                for text in log.stdout or ():
                    if text.startswith("{") and (line := json.loads(text))["event"] == event:
                        return dict(line)
            finally:
                log.kill()
        raise EngineError(f"the container ended without {event}: {self.docker('logs', container)}")

    @contextlib.contextmanager
    def container(self, *arguments: str) -> Iterator[str]:
        """Create a container, give its id, remove it at the end."""
        identity = self.docker("create", *arguments)
        try:
            yield identity
        finally:
            self.docker("rm", "--force", "--volumes", identity)


def existing() -> Engine | None:
    """The engine that `docker` talks to by default, if one answers."""
    engine = Engine(dict(os.environ), own=False)
    try:
        engine.docker("version", "--format", "{{.Server.Version}}", seconds=20)
    except (EngineError, OSError, subprocess.TimeoutExpired):
        return None
    return engine


def obstacle() -> str | None:
    """Why no engine of our own can be started here; None where nothing is in the way."""
    missing = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    if missing:
        return f"a Docker engine is not here: apt-get install {' '.join(sorted(missing))}"
    if os.geteuid() != 0:
        return "only root can start a Docker engine"
    return None


@contextlib.contextmanager
def own_engine() -> Iterator[Engine]:
    """Start an engine with its own data, state and socket; at the end stop it and remove everything.

    Raises EngineError where it does not come up with any storage driver.
    """
    problems = []
    with tempfile.TemporaryDirectory(prefix="xero-proxy-docker-") as name, contextlib.ExitStack() as stack:
        stack.callback(unmount, Path(name))
        for driver in _DRIVERS:
            directory = Path(name, driver)
            directory.mkdir()
            daemon = _daemon(directory, driver)
            stack.callback(_stop, daemon)
            if (problem := _comes_up(daemon)) is None:
                socket = f"unix://{directory}/socket"
                yield Engine({**os.environ, "DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0"}, own=True)
                return
            problems.append(f"{driver}: {problem}")
    raise EngineError("no Docker engine can be started; " + "; ".join(problems))


def unmount(directory: Path) -> None:
    """Take away whatever is still mounted below `directory`, the innermost first."""
    for point in reversed(mounts(directory)):
        subprocess.run(["umount", "--lazy", point], check=False)  # noqa: S603, S607 - a path of our own


def mounts(directory: Path) -> list[str]:
    """Where something is mounted below `directory`, the outermost first."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    return [point for point in points if Path(point).is_relative_to(directory)]


def _daemon(directory: Path, driver: str) -> subprocess.Popen[str]:
    """The engine's process. It is told to stop should whoever started it die."""
    return subprocess.Popen(  # noqa: S603 - the arguments are this project's own
        [
            *("setpriv", "--pdeathsig", "TERM", "dockerd", *_PLAIN, "--storage-driver", driver),
            *("--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"),
            *("--pidfile", f"{directory}/pid", "--host", f"unix://{directory}/socket"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _comes_up(daemon: subprocess.Popen[str]) -> str | None:
    """Wait until it listens; else its last words. What it says later is read and dropped."""
    output = cast("IO[str]", daemon.stderr)
    patience = threading.Timer(_START_SECONDS, daemon.terminate)
    patience.start()
    last = "it said nothing"
    try:
        for line in output:
            if "API listen on" in line:
                threading.Thread(target=_drop, args=(output,), daemon=True).start()
                return None
            last = line.strip()
    finally:
        patience.cancel()
    output.close()
    return last


def _drop(output: IO[str]) -> None:
    with output:
        deque(output, 0)


def _stop(daemon: subprocess.Popen[str]) -> None:
    daemon.terminate()
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
