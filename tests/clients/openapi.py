"""The Accounting API's OpenAPI document, and a request for each of its operations.

The document is Xero's own as the package `arcade-xero-api` ships it, or, where `XERO_OPENAPI` names a file in
JSON, that one. A request holds every parameter and the body that the document gives an example of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.clients.driver import TENANT
from tests.clients.install import needed

BASE = "/api.xro/2.0"
METHODS = ("get", "put", "post", "delete", "patch")
OCTETS = "application/octet-stream"
Json = dict[str, Any]


class Document(NamedTuple):
    """A document and where it came from, for people."""

    content: Json
    origin: str
    packaged: bool

    def resolve(self, value: Json) -> Json:
        """What a `$ref` into the document points at, or the value itself."""
        while "$ref" in value:
            found: Any = self.content
            for name in value["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            value = found
        return value


class Operation(NamedTuple):
    """A request that the document describes; `name` is its operationId."""

    name: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def read_document() -> Document:
    """The document. A test is skipped, or with `CLIENTS=required` fails, where it is not installed."""
    if given := os.environ.get("XERO_OPENAPI"):
        content = json.loads(Path(given).read_text("utf-8"))
        return Document(content, f"{content['info']['version']}, {Path(given).name}", packaged=False)
    path = Path(needed("openapi"), "arcade_xero_api/moar/openapi.json")
    content = json.loads(path.read_text("utf-8"))
    return Document(content, f"{content['info']['version']}, as arcade-xero-api ships it", packaged=True)


def operations(document: Document) -> Iterator[Operation]:
    """One request for every operation, in the order of the document."""
    for path, item in document.content["paths"].items():
        for method in METHODS:
            if method in item:
                shared = item.get("parameters", [])
                yield _operation(document, path, method, item[method], shared)


def _operation(document: Document, path: str, method: str, about: Json, shared: list[Json]) -> Operation:
    target, query = BASE + path, []
    headers = [
        ("Authorization", "Bearer opaque"),
        ("Xero-Tenant-Id", TENANT),
        ("Accept", _accept(document, about)),
    ]
    for parameter in map(document.resolve, [*shared, *about.get("parameters", [])]):
        value = _text(document, parameter)
        match parameter["in"]:
            case "path":
                target = target.replace("{" + parameter["name"] + "}", quote(value, safe=""))
            case "query":
                query.append(f"{parameter['name']}={quote(value, safe=',')}")
            case "header" if parameter["name"].lower() != "xero-tenant-id":
                headers.append((parameter["name"], value))
    content_type, body = _body(document, about)
    if content_type:
        headers.append(("Content-Type", content_type))
    return Operation(
        about["operationId"],
        method.upper(),
        target + ("?" + "&".join(query) if query else ""),
        tuple(headers),
        body,
    )


def _text(document: Document, parameter: Json) -> str:
    """The parameter's example as it is written in a URL or a header; the document escapes quotes for HTML."""
    schema = document.resolve(parameter["schema"])
    value = parameter.get("example", schema.get("example", schema.get("default", "example")))
    if "uuid" in {schema.get("format"), schema.get("items", {}).get("format")}:
        return "00000000-0000-0000-0000-000000000000"
    if isinstance(value, bool):
        return str(value).lower()
    words = value if isinstance(value, list) else [value]
    return ",".join(str(word).replace("&quot;", '"') for word in words)


def _accept(document: Document, about: Json) -> str:
    for status, answer in about["responses"].items():
        content = document.resolve(answer).get("content")
        if status.startswith("2") and content:
            return str(next(iter(content)))
    return "application/json"


def _body(document: Document, about: Json) -> tuple[str, bytes | None]:
    content = document.resolve(about.get("requestBody", {})).get("content", {})
    for content_type, media in content.items():
        example = media.get("example", {})
        # A file is a string in Base64 to the document, and what is not Prism refuses.
        raw = b"Y29udGVudA==" if content_type == OCTETS else json.dumps(example).encode()
        return content_type, raw
    return "", None


def for_prism(document: Document) -> Json:
    """The document as Prism is given it: under the API's path, and without what it spends minutes on. Schemas
    that the package has written out in place are named again, and answers that have an example, with which
    Prism answers, go without a schema.
    """
    schemas = document.content["components"]["schemas"]
    names = {frozenset(each["properties"]): name for name, each in schemas.items() if "properties" in each}
    paths = {BASE + path: _named(item, names) for path, item in document.content["paths"].items()}
    for media in _answers(paths):
        if "example" in media:
            media.pop("schema", None)
    return {**document.content, "paths": paths, "servers": [{"url": "/"}]}


def _answers(paths: Json) -> Iterator[Json]:
    """What the answers in these paths hold, by media type."""
    for item in paths.values():
        for about in item.values():
            for answer in about["responses"].values() if "responses" in about else ():
                yield from answer.get("content", {}).values()


def _named(value: Any, names: dict[frozenset[str], str]) -> Any:
    """`value` with a reference for every schema that has the members of a named one."""
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    members = value.get("properties")
    if isinstance(members, dict) and len(members) > 1 and (name := names.get(frozenset(members))):
        return {"$ref": f"#/components/schemas/{name}"}
    return {name: _named(member, names) for name, member in value.items() if not name.startswith("x-")}
