"""Loads the prefixes of Xero's API families from `apis.toml`. A mistake stops the start, by row."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from proxy.core.answers.route import PREFIX_SEGMENTS, Family, Prefixes
from proxy.core.model import Host

APIS = Path(__file__).with_name("apis.toml")

_KEYS = {"family", "prefix", "host", "tenant", "keys"}


class BadApis(ValueError):
    """The file of API families is wrong; the message names the row."""


def load_apis(path: Path = APIS) -> Prefixes:
    """Families by prefix. Raises `BadApis`."""
    return read_apis(tomllib.loads(path.read_text("utf-8")))


def read_apis(document: dict[str, Any]) -> Prefixes:
    """As `load_apis`, from the parsed file."""
    prefixes: dict[bytes, Family] = {}
    for number, row in enumerate(document["api"], start=1):
        where = f"api {number} ({row.get('prefix')})"
        if unknown := row.keys() - _KEYS:
            raise BadApis(f"{where}: unknown {', '.join(sorted(unknown))}")
        family = _family(where, row)
        key = family.prefix.lower().encode("ascii")
        if key in prefixes:
            raise BadApis(f"{where}: there are two rows for this prefix")
        prefixes[key] = family
    return prefixes


def _family(where: str, row: dict[str, Any]) -> Family:
    prefix = row.get("prefix", "")
    segments = prefix.split("/")
    well_formed = segments[0] == "" and all(segments[1:]) and prefix.isascii()
    if not well_formed or not 1 <= len(segments) - 1 <= PREFIX_SEGMENTS:
        raise BadApis(f"{where}: a prefix has one to {PREFIX_SEGMENTS} segments in ASCII, each after a slash")
    host = row.get("host", Host.API)
    if host not in list(Host):
        raise BadApis(f"{where}: unknown host {host}")
    tenant = row.get("tenant", True)
    if Host(host) is Host.IDENTITY and tenant:
        raise BadApis(f"{where}: the identity host knows no tenant")
    if not row.get("family"):
        raise BadApis(f"{where}: family is missing")
    keys = row.get("keys", False)
    if not isinstance(keys, bool) or (keys and Host(host) is Host.IDENTITY):
        raise BadApis(f"{where}: keys is true or false, and the identity host honours none")
    return Family(name=row["family"], prefix=prefix, host=Host(host), tenant=tenant, keys=keys)
