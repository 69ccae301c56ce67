"""What `kubectl kustomize` makes of the components, and what of it the tests ask for."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types

from tests.deploy.manifests import ROOT, output, program

KUBERNETES = ROOT / "deploy" / "kubernetes"
LABEL = {"xero-proxy": "sidecar"}
_UNITS = {"Mi": 2**20, "Gi": 2**30}

Document = dict[str, Any]


def render(folder: Path) -> list[Document]:
    """Every document of an overlay."""
    return list(yaml.safe_load_all(output(program("kubectl"), "kustomize", folder)))


def overlay(folder: Path, resources: Sequence[Document], **more: object) -> list[Document]:
    """What the component makes of these resources, in an overlay that says `more`."""
    kustomization = {
        "resources": ["resources.yaml"],
        "components": [os.path.relpath(KUBERNETES / "component", folder.resolve())],
        **more,
    }
    (folder / "resources.yaml").write_text(yaml.safe_dump_all(resources), encoding="utf-8")
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return render(folder)


def deployment(name: str = "app", labels: dict[str, str] | None = None, **pod: object) -> Document:
    """A Deployment with one container, whose pods are as told."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": LABEL if labels is None else labels},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": name, "image": f"{name}:1"}], **copy.deepcopy(pod)},
            },
        },
    }


def only(kind: str, documents: Sequence[Document]) -> Document:
    """The one document of this kind."""
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def pod(documents: Sequence[Document]) -> Document:
    """The specification of the one Deployment's pods."""
    spec: Document = only("Deployment", documents)["spec"]["template"]["spec"]
    return spec


def sidecar(documents: Sequence[Document]) -> Document:
    """The sidecar, which must be the first of the init containers."""
    first: Document = pod(documents)["initContainers"][0]
    assert first["name"] == "xero-proxy"
    return first


def in_bytes(quantity: str) -> int:
    """A quantity of memory."""
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]
