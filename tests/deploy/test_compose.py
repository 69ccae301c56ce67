"""The Compose file: its schema, what it mounts and names, and its three Python parts run for real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from config.settings import PREFIX
from proxy import __version__
from tests.deploy.manifests import ROOT, load, output, program, settings_of
from tests.deploy.tools import tool
from tests.e2e.test_process import COMMAND, PATIENCE, serving
from tests.sockets import answer_to, request, status

FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
SERVICES: dict[str, Any] = load(FILE)["services"]
SIDECAR = SERVICES["xero-proxy"]
DASHBOARD = "deploy/grafana/xero-proxy.json"


def mounts(service: str) -> dict[str, Path]:
    """Path in the container, and the file or folder of the repository that stands there."""
    bound = [each.split(":") for each in SERVICES[service].get("volumes", ()) if each.startswith(".")]
    assert all(options == ["ro"] for _, _, *options in bound)
    return {target: (FOLDER / source).resolve() for source, target, *_ in bound}


def sidecar_settings(tmp_path: Path) -> Any:
    return settings_of(SIDECAR["environment"], tmp_path)


def simulator_port() -> int:
    arguments = SERVICES["simulator"]["command"]
    return int(arguments[arguments.index("--listen") + 1].rpartition(":")[2])


def test_the_file_is_what_the_compose_specification_allows() -> None:
    output(program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", FILE)


def test_every_setting_is_one_and_is_well_formed(tmp_path: Path) -> None:
    for name, service in SERVICES.items():
        given = {key for key in service.get("environment", ()) if key.startswith(PREFIX)}
        assert bool(given) == (name == "xero-proxy")
    sidecar_settings(tmp_path)


def test_the_image_is_built_from_what_is_here_and_of_this_version() -> None:
    for name in ("app", "xero-proxy", "simulator"):
        build = SERVICES[name]["build"]
        context = FOLDER / build["context"]
        assert context.resolve() == ROOT
        assert (context / build["dockerfile"]).is_file()
        assert SERVICES[name]["image"] == f"xero-proxy:{__version__}"


def test_other_images_are_pinned_to_a_release() -> None:
    for name in ("prometheus", "grafana"):
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_exists(service: str) -> None:
    assert [source for source in mounts(service).values() if not source.exists()] == []


@pytest.mark.parametrize("service", SERVICES)
def test_containers_cannot_write_to_their_root_or_gain_rights(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICES[service]["security_opt"]


def test_ports_are_published_to_this_machine_alone_and_are_listened_on(tmp_path: Path) -> None:
    listening = {
        "app": set[int](),
        "xero-proxy": {sidecar_settings(tmp_path).admin_listen.port},
        "simulator": {simulator_port()},
        "prometheus": {9090},
        "grafana": {3000},
    }
    for name, service in SERVICES.items():
        published = [each.split(":") for each in service.get("ports", ())]
        assert {host for host, _, _ in published} <= {"127.0.0.1"}
        assert {int(inside) for _, _, inside in published} == listening[name]
    outside = [each.split(":")[1] for service in SERVICES.values() for each in service.get("ports", ())]
    assert len(outside) == len(set(outside))


def test_the_app_finds_the_sidecar_and_the_sidecar_the_simulator(tmp_path: Path) -> None:
    settings = sidecar_settings(tmp_path)
    assert SERVICES["app"]["network_mode"] == "service:xero-proxy"
    assert SERVICES["app"]["environment"]["XERO_BASE_URL"] == f"http://{settings.listen}"
    assert settings.listen.host == "127.0.0.1"
    for upstream in (settings.upstream, settings.identity_upstream):
        assert str(upstream) == f"http://simulator:{simulator_port()}"


def test_health_is_asked_where_it_is_answered(tmp_path: Path) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert "HEALTHCHECK" in dockerfile
    assert "healthcheck" not in SIDECAR  # the image's own asks /readyz at ADMIN_LISTEN
    assert sidecar_settings(tmp_path).admin_listen.port == 9090
    assert SERVICES["app"]["healthcheck"] == {"disable": True}


def test_docker_waits_longer_than_the_drain_takes(tmp_path: Path) -> None:
    assert int(SIDECAR["stop_grace_period"].rstrip("s")) > sidecar_settings(tmp_path).drain_seconds


def test_large_bodies_wait_where_the_container_may_write() -> None:
    spool = SIDECAR["environment"][f"{PREFIX}SPOOL_DIR"]
    (options,) = (each.partition(":")[2] for each in SIDECAR["tmpfs"] if each.startswith(f"{spool}:"))
    assert {"uid=65532", "mode=0700"} <= set(options.split(","))


def test_state_outlives_the_container_where_the_image_has_room_for_it() -> None:
    folder = Path(SIDECAR["environment"][f"{PREFIX}STATE_FILE"]).parent
    assert f"state:{folder}" in SIDECAR["volumes"]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert f"install -d -m 0700 -o 65532 -g 65532 {folder}\n" in dockerfile


def test_prometheus_scrapes_the_admin_port_and_has_the_rules(tmp_path: Path) -> None:
    (scrape,) = load(FOLDER / "prometheus.yml")["scrape_configs"]
    admin = sidecar_settings(tmp_path).admin_listen
    assert admin.host == "0.0.0.0"  # noqa: S104 - Prometheus is in another container
    assert scrape["static_configs"] == [{"targets": [f"xero-proxy:{admin.port}"]}]
    assert scrape["job_name"] == "xero-proxy"

    promtool = tool("promtool", "prometheus")
    for target, source in mounts("prometheus").items():
        copy = tmp_path / Path(target).relative_to("/etc/prometheus")
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(source.read_bytes())
    printed = output(promtool, "check", "config", tmp_path / "prometheus.yml")
    assert "1 rule files found" in printed


def test_grafana_has_the_data_source_and_shows_the_dashboard() -> None:
    mounted = mounts("grafana")
    (source,) = load(FOLDER / "grafana" / "datasources" / "prometheus.yaml")["datasources"]
    address = urlsplit(source["url"])
    assert address.hostname in SERVICES
    assert SERVICES["prometheus"]["ports"][0].endswith(f":{address.port}")

    (provider,) = load(FOLDER / "grafana" / "dashboards" / "xero-proxy.yaml")["providers"]
    (shown,) = (target for target in mounted if target.startswith(f"{provider['options']['path']}/"))
    assert mounted[shown] == ROOT / DASHBOARD
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == shown

    variables = json.loads((ROOT / DASHBOARD).read_text(encoding="utf-8"))["templating"]["list"]
    assert source["type"] in {each["query"] for each in variables if each["type"] == "datasource"}


@contextlib.asynccontextmanager
async def running(*command: str | Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of which the output is read; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def printed(process: asyncio.subprocess.Process, pattern: str) -> str:
    """Wait for a line with this in it; the pattern's first group."""
    assert process.stdout is not None
    while line := await asyncio.wait_for(process.stdout.readline(), PATIENCE):
        if found := re.search(pattern, line.decode()):
            return found[1]
    raise AssertionError(f"it ended without {pattern}")


async def test_the_app_is_served_through_the_sidecar_and_ends_when_told(tmp_path: Path) -> None:
    arguments = [
        re.sub(rf".*:{simulator_port()}$", "127.0.0.1:0", each) for each in SERVICES["simulator"]["command"]
    ]
    own = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "spool_dir": tmp_path}
    own |= {"state_file": tmp_path / "state.db"}
    given = {name.removeprefix(PREFIX).lower(): value for name, value in SIDECAR["environment"].items()}
    interpreter, *flags, script = SERVICES["app"]["entrypoint"]
    assert interpreter == "python3"
    async with running(COMMAND, *arguments) as simulator:
        url = await printed(simulator, r"(http://127.0.0.1:\d+)")
        health = re.search(rf":{simulator_port()}(/[\w/]+)", SERVICES["simulator"]["healthcheck"]["test"][-1])
        assert health
        head, _ = await answer_to(int(url.rpartition(":")[2]), request(f"GET {health[1]}".encode()))
        assert status(head) == 200
        async with (
            serving(**given | own | {"upstream": url, "identity_upstream": url}) as sidecar,
            running(
                sys.executable,
                *flags,
                mounts("app")[script],
                XERO_BASE_URL=f"http://127.0.0.1:{sidecar.port}",
            ) as app,
        ):
            for organisation in ("acme", "globex", "initech"):
                assert await printed(app, rf"^{organisation} (\d+) success ") == "200"
            app.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(app.wait(), PATIENCE) == 0
