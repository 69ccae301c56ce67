"""The bill of materials of the image's Python packages: CycloneDX 1.6 from requirements.lock.

`python -m deploy.sbom` writes deploy/sbom.cdx.json anew. It holds what the lock says and the licences that
the packages declare, nothing of when and where it was made, so the same lock gives the same bytes. What the
base image brings along is for the base's own bill to list.
"""

from __future__ import annotations

import json
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from cyclonedx.spdx import fixup_id

from deploy.locks import Locked, read_lock
from proxy import __version__

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
SBOM = ROOT / "deploy" / "sbom.cdx.json"
PROJECT = "xero-proxy"


def bill(packages: list[Locked]) -> dict[str, Any]:
    """The document. Raises PackageNotFoundError for what is not installed: its licence is unknown."""
    project = {
        "type": "application",
        "bom-ref": f"pkg:pypi/{PROJECT}@{__version__}",
        "name": PROJECT,
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "purl": f"pkg:pypi/{PROJECT}@{__version__}",
    }
    refs = {PROJECT: project["bom-ref"], **{package.name: package.ref for package in packages}}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": project},
        "components": [_component(package) for package in packages],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(each.ref for each in packages if name in each.needed_by)}
            for name, ref in refs.items()
        ],
    }


def as_text(document: dict[str, Any]) -> str:
    """The file's content."""
    return json.dumps(document, indent=1) + "\n"


def _component(package: Locked) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": digest} for digest in package.hashes]
    return {
        "type": "library",
        "bom-ref": package.ref,
        "name": package.name,
        "version": package.version,
        "licenses": [_licence(package.name)],
        "purl": package.ref,
        "externalReferences": [{"type": "distribution", "url": package.ref, "hashes": hashes}],
    }


def _licence(name: str) -> dict[str, Any]:
    """What the installed package declares: an expression, a name of SPDX's, or its own words."""
    declared = metadata(name)
    if "License-Expression" in declared:
        return {"expression": declared["License-Expression"], "acknowledgement": "declared"}
    words = declared["License"]
    known = fixup_id(words)
    return {"license": {**({"id": known} if known else {"name": words}), "acknowledgement": "declared"}}


if __name__ == "__main__":
    SBOM.write_text(as_text(bill(read_lock(LOCK.read_text("utf-8")))), "utf-8")
