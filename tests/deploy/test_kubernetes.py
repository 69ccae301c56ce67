"""The kustomize components, as `kubectl kustomize` renders them into Deployments of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import kubernetes_validate  # type: ignore[import-untyped]  # nor has it
import pytest

from config.settings import PREFIX
from proxy import __version__
from tests.deploy.cluster import (
    KUBERNETES,
    LABEL,
    Document,
    deployment,
    in_bytes,
    only,
    overlay,
    pod,
    render,
    sidecar,
)
from tests.deploy.manifests import load, settings_of
from tests.e2e.harness import put
from tests.e2e.test_process import serving
from tests.faults.processes import PATIENCE, need_descriptors, origin
from tests.sockets import answer_to, caller, request, status

FIRST_WITH_SIDECARS = "1.29"
APP_SECONDS = 30
"""What Kubernetes gives an app to end in, unless it says otherwise."""
TENANTS = 4
"""So many that no one line is full before all are."""
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""Kinds that *restricted* allows."""


@pytest.fixture(scope="module")
def example() -> list[Document]:
    return render(KUBERNETES / "example")


def unrestricted(spec: Document) -> list[str]:
    """What of a pod Pod Security's *restricted* would refuse."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [volume["name"] for volume in spec.get("volumes", ()) if not volume.keys() <= {"name", *VOLUMES}]
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        own = container.get("securityContext", {})
        whole = spec.get("securityContext", {}) | own
        held = {
            "privileged": not own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": whole.get("runAsNonRoot") is True,
            "runAsUser": whole.get("runAsUser") != 0,
            "seccompProfile": whole.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", ())),
        }
        found += [f"{container['name']}: {name}" for name, holds in held.items() if not holds]
    return found


@pytest.mark.parametrize("version", [FIRST_WITH_SIDECARS, kubernetes_validate.latest_version()])
def test_every_field_of_the_example_is_one_that_kubernetes_knows(
    example: list[Document], version: str
) -> None:
    checked = [document for document in example if document["kind"] != "PodMonitor"]  # has a test of its own
    assert {document["kind"] for document in checked} == {
        "ConfigMap",
        "Deployment",
        "Namespace",
        "NetworkPolicy",
    }
    for document in checked:
        kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_found(example: list[Document]) -> None:
    sidecar(example)["restartPolice"] = sidecar(example)["restartPolicy"]
    try:
        with pytest.raises(kubernetes_validate.ValidationError, match="restartPolice"):
            kubernetes_validate.validate(only("Deployment", example), FIRST_WITH_SIDECARS, strict=True)
    finally:
        del sidecar(example)["restartPolice"]


def test_the_pod_monitor_asks_the_admin_port_of_the_pods_with_a_sidecar(example: list[Document]) -> None:
    monitor = only("PodMonitor", example)
    jsonschema.validate(monitor, load(Path(__file__).with_name("pod-monitor.schema.yaml")))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in sidecar(example)["ports"]}
    labels = only("Deployment", example)["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_example_passes_pod_security_restricted(example: list[Document]) -> None:
    enforced = only("Namespace", example)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    assert unrestricted(pod(example)) == []


def test_the_sidecar_passes_whatever_the_rest_of_the_pod_is(tmp_path: Path) -> None:
    refused = unrestricted(pod(overlay(tmp_path, [deployment()])))
    assert refused  # an app that says nothing is refused
    assert {sentence.partition(":")[0] for sentence in refused} == {"app"}


def test_the_sidecar_sees_neither_a_token_nor_a_root_to_write_to(example: list[Document]) -> None:
    assert pod(example)["automountServiceAccountToken"] is False
    assert sidecar(example)["securityContext"]["readOnlyRootFilesystem"] is True


OWN = [{"name": "migrate", "image": "app:1"}, {"name": "warm", "image": "app:1"}]


@pytest.mark.parametrize(
    "own", [{}, {"initContainers": []}, {"initContainers": OWN[:1]}, {"initContainers": OWN}]
)
def test_the_sidecar_starts_before_the_init_containers_of_the_deployment(
    tmp_path: Path, own: dict[str, Any]
) -> None:
    rendered = overlay(tmp_path, [deployment(**own)])
    first, *others = pod(rendered)["initContainers"]
    assert (first["name"], first["restartPolicy"]) == ("xero-proxy", "Always")
    assert others == own.get("initContainers", [])
    assert first["startupProbe"]  # the others wait for it


def test_what_the_deployment_has_stays(tmp_path: Path) -> None:
    volume = {"name": "data", "emptyDir": {}}
    rendered = overlay(
        tmp_path, [deployment(volumes=[volume], terminationGracePeriodSeconds=90, serviceAccountName="app")]
    )
    spec = pod(rendered)
    assert spec["containers"] == [{"name": "app", "image": "app:1"}]
    assert volume in spec["volumes"]
    assert (spec["terminationGracePeriodSeconds"], spec["serviceAccountName"]) == (90, "app")


def test_a_deployment_without_the_label_is_left_alone(tmp_path: Path) -> None:
    plain = deployment("plain", labels={"tier": "web"})
    rendered = overlay(tmp_path, [deployment(), deployment("other"), plain])
    given = [each for each in rendered if each["kind"] == "Deployment"]
    assert [len(each["spec"]["template"]["spec"].get("initContainers", ())) for each in given] == [1, 1, 0]
    assert plain in rendered


def test_an_overlay_has_the_last_word(tmp_path: Path) -> None:
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "xero-proxy"},
        "data": {f"{PREFIX}QUEUE_LIMIT": "7"},
    }
    token = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app"},
        "spec": {"template": {"spec": {"automountServiceAccountToken": True}}},
    }
    rendered = overlay(
        tmp_path,
        [deployment()],
        patches=[{"patch": json.dumps(settings)}, {"patch": json.dumps(token)}],
        images=[{"name": "xero-proxy", "newName": "registry.internal/x", "digest": f"sha256:{'0' * 64}"}],
    )
    made = only("ConfigMap", rendered)
    assert made["data"][f"{PREFIX}QUEUE_LIMIT"] == "7"
    assert made["data"][f"{PREFIX}LISTEN"] == "127.0.0.1:8080"
    assert sidecar(rendered)["envFrom"][0]["configMapRef"]["name"] == made["metadata"]["name"]
    assert sidecar(rendered)["image"].startswith("registry.internal/x@sha256:")
    assert pod(rendered)["automountServiceAccountToken"] is True


def test_the_image_is_of_this_version(example: list[Document]) -> None:
    assert sidecar(example)["image"].endswith(f"/xero-proxy:{__version__}")


def test_the_app_finds_the_sidecar_where_it_listens(example: list[Document], tmp_path: Path) -> None:
    settings = settings_of(only("ConfigMap", example)["data"], tmp_path)
    assert settings.listen.host == "127.0.0.1"
    (app,) = pod(example)["containers"]
    assert {"name": "XERO_BASE_URL", "value": f"http://{settings.listen}"} in app["env"]


def test_large_bodies_have_a_bounded_place_to_wait_in(example: list[Document]) -> None:
    (mount,) = sidecar(example)["volumeMounts"]
    assert mount["mountPath"] == only("ConfigMap", example)["data"][f"{PREFIX}SPOOL_DIR"]
    (volume,) = (each for each in pod(example)["volumes"] if each["name"] == mount["name"])
    assert volume["emptyDir"].keys() == {"sizeLimit"}
    state = Path(only("ConfigMap", example)["data"][f"{PREFIX}STATE_FILE"])
    assert str(state.parent) == mount["mountPath"]


def test_the_drain_fits_into_the_grace_that_the_app_leaves(example: list[Document], tmp_path: Path) -> None:
    settings = settings_of(only("ConfigMap", example)["data"], tmp_path)
    assert APP_SECONDS + settings.drain_seconds < pod(example)["terminationGracePeriodSeconds"]


def test_only_prometheus_comes_in_and_only_dns_and_https_go_out(
    example: list[Document], tmp_path: Path
) -> None:
    policy = only("NetworkPolicy", example)["spec"]
    admin = settings_of(only("ConfigMap", example)["data"], tmp_path).admin_listen
    assert policy["podSelector"]["matchLabels"] == LABEL
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (way_in,) = policy["ingress"]
    assert way_in["ports"] == [{"protocol": "TCP", "port": admin.port}]
    assert all({"namespaceSelector", "podSelector"} == peer.keys() for peer in way_in["from"])
    ways_out = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert ways_out == {("UDP", 53), ("TCP", 53), ("TCP", 443)}
    assert all(rule["to"] for rule in policy["egress"])


def here(given: dict[str, str], tmp_path: Path) -> dict[str, object]:
    """Settings of a container, for a process of this machine."""
    own = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "spool_dir": tmp_path}
    own |= {"state_file": tmp_path / "state.db"}
    return {name.removeprefix(PREFIX).lower(): value for name, value in given.items()} | own


def resident(process: int, field: str = "VmRSS") -> int:
    """Bytes of memory; `VmHWM` is the most there ever were."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


async def test_what_the_kubelet_and_prometheus_ask_for_is_there_and_idle_memory_is_what_is_requested(
    example: list[Document], tmp_path: Path
) -> None:
    given = only("ConfigMap", example)["data"]
    admin = settings_of(given, tmp_path).admin_listen
    assert admin.host == "0.0.0.0"  # noqa: S104 - they come from outside the pod
    (port,) = sidecar(example)["ports"]
    assert port["containerPort"] == admin.port
    probes = [sidecar(example)[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {port["name"]}
    (endpoint,) = only("PodMonitor", example)["spec"]["podMetricsEndpoints"]

    async with serving(**here(given, tmp_path)) as process:
        for path in [probe["path"] for probe in probes] + [endpoint["path"]]:
            head, _ = await answer_to(process.admin_port, request(f"GET {path}".encode()))
            assert status(head) == 200, path
        idle = resident(process.process.pid)
    assert idle < in_bytes(sidecar(example)["resources"]["requests"]["memory"])


async def test_a_full_line_of_bodies_in_memory_stays_under_the_memory_limit(
    example: list[Document], tmp_path: Path
) -> None:
    given = only("ConfigMap", example)["data"]
    settings = settings_of(given, tmp_path)
    in_flight = TENANTS * settings.tenant_concurrent_limit
    need_descriptors(2 * (settings.queue_limit_total + in_flight) + 500)
    async with (
        origin() as xero,
        serving(**here(given, tmp_path), upstream=xero.url) as process,
        contextlib.AsyncExitStack() as callers,
    ):
        xero.gate.clear()  # what is sent stays unanswered
        for number in range(settings.queue_limit_total + in_flight):
            _, writer = await callers.enter_async_context(caller(process.port))
            tenant = f"Xero-Tenant-Id: {number % TENANTS}".encode()
            writer.write(put(bytes(settings.body_memory_bytes), tenant, b"Prefer: wait=3600"))
            await writer.drain()
        async with asyncio.timeout(PATIENCE):
            while (await process.status())["waiting"] < settings.queue_limit_total:
                pass
        most = resident(process.process.pid, "VmHWM")
        process.process.kill()
    assert most < in_bytes(sidecar(example)["resources"]["limits"]["memory"])
