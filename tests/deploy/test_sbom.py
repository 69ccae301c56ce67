"""The bill of materials is what the lock says, and says it the same way every time."""

from __future__ import annotations

import json

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from deploy.locks import Locked, read_lock
from deploy.sbom import LOCK, SBOM, as_text, bill

TEXT = """# This file was made by a command
one==1.0 \\
    --hash=sha256:{b} \\
    --hash=sha256:{a}
    # via xero-proxy (pyproject.toml)
two-more==2.0rc1 ; python_full_version < '3.13' \\
    --hash=sha256:{a}
    # via
    #   one
    #   xero-proxy (pyproject.toml)
""".format(a="a" * 64, b="b" * 64)


def test_the_lock_is_read_whole() -> None:
    assert read_lock(TEXT) == [
        Locked("one", "1.0", "", ("a" * 64, "b" * 64), frozenset({"xero-proxy"})),
        Locked(
            "two-more",
            "2.0rc1",
            "python_full_version < '3.13'",
            ("a" * 64,),
            frozenset({"one", "xero-proxy"}),
        ),
    ]


def test_every_line_of_the_lock_is_a_component_with_its_hashes() -> None:
    text = LOCK.read_text("utf-8")
    pinned = [Requirement(line.rstrip(" \\")) for line in text.splitlines() if line[0] not in "# "]
    components = json.loads(SBOM.read_text("utf-8"))["components"]
    assert [f"{each['name']}=={each['version']}" for each in components] == [
        f"{each.name}{each.specifier}" for each in pinned
    ]
    hashes = [digest["content"] for each in components for digest in each["externalReferences"][0]["hashes"]]
    assert len(hashes) == text.count("--hash=")


def test_the_bill_is_current_and_comes_out_the_same_whenever_it_is_made() -> None:
    made = as_text(bill(read_lock(LOCK.read_text("utf-8"))))
    assert SBOM.read_text("utf-8") == made, "make it anew: python -m deploy.sbom"
    assert "serialNumber" not in made
    assert "timestamp" not in made


def test_the_bill_is_valid_and_its_graph_reaches_every_component() -> None:
    text = SBOM.read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    needs = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    reached, ahead = set(), [document["metadata"]["component"]["bom-ref"]]
    while ahead:
        reached.add(one := ahead.pop())
        ahead += set(needs[one]) - reached
    assert reached == set(needs)
    assert {each["bom-ref"] for each in document["components"]} < reached


def test_every_component_says_under_what_licence_it_is() -> None:
    for each in json.loads(SBOM.read_text("utf-8"))["components"]:
        assert each["licenses"] != []
