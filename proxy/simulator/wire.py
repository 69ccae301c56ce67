"""How Accounting writes records: JSON where it is asked for, XML otherwise, and dates of both kinds.

A record is a dict with Xero's own member names. Dates are kept as JSON has them, `/Date(ms+0000)/`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import NAMESPACE_DNS, uuid5
from xml.etree import ElementTree as ET

from proxy.simulator.answers import XML, Answer, SimRequest, as_json

Record = dict[str, Any]

_JSON_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")


class Unreadable(Exception):
    """The body is neither JSON nor XML that holds records."""


def json_date(seconds: float) -> str:
    """Seconds since 1970 as Accounting's JSON writes them."""
    return f"/Date({int(seconds * 1000)}+0000)/"


def seconds_of(date: str) -> float:
    """Seconds since 1970 of a date in either form; ValueError if it is in neither."""
    if found := _JSON_DATE.fullmatch(date):
        return int(found[1]) / 1000
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()


def iso_date(seconds: float) -> str:
    """Seconds since 1970 as XML and the `…String` members write them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def wants_json(request: SimRequest) -> bool:
    """XML is Accounting's default."""
    return "json" in request.header(b"accept").lower()


def respond(request: SimRequest, status: int, value: Record, root: str = "Response") -> Answer:
    """A record in the format that the request asks for; `root` names the XML document."""
    if wants_json(request):
        return as_json(status, value)
    body = ET.tostring(_element(root, value), encoding="utf-8", xml_declaration=False)
    return Answer(status, ((b"Content-Type", XML),), body)


def envelope(request: SimRequest, members: Record, wall: float) -> Answer:
    """A success: `members` and what Accounting says around them."""
    about = {
        "Id": str(uuid5(NAMESPACE_DNS, f"{request.target} {wall}")),
        "Status": "OK",
        "ProviderName": "Xero simulator",
        "DateTimeUTC": json_date(wall),
    }
    return respond(request, 200, {**about, **members})


def records(request: SimRequest, plural: str) -> list[Record]:
    """The records in a body: one, a list, or an envelope of them, in JSON, XML or XML in a form."""
    body = request.body
    if "form-urlencoded" in request.header(b"content-type"):
        body = parse_qs(body.decode("latin-1")).get("xml", [""])[0].encode()
    try:
        value = _value(ET.fromstring(body)) if body.lstrip()[:1] == b"<" else json.loads(body)  # noqa: S314 - expat bounds expansion, and a simulator has no secrets
    except (ValueError, RecursionError, ET.ParseError) as error:
        raise Unreadable(str(error)) from error
    if isinstance(value, dict):
        value = value.get(plural, value.get(singular_of(plural), value))
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(record, dict) for record in found):
        raise Unreadable(f"{plural} must be objects")
    return found


def singular_of(plural: str) -> str:
    """What one of a list is called."""
    if plural.endswith("ies"):
        return plural[:-3] + "y"
    return plural[:-2] if plural.endswith("sses") else plural.removesuffix("s")


def _value(element: ET.Element) -> Any:
    """Text of a leaf, list of a plural (`LineItems/LineItem`), else dict by tag."""
    children = list(element)
    if not children:
        return element.text or ""
    tag = children[0].tag
    if all(child.tag == tag for child in children) and element.tag == _plural(tag):
        return [_value(child) for child in children]
    return {child.tag: _value(child) for child in children}


def _element(tag: str, value: object) -> ET.Element:
    element = ET.Element(tag)
    if isinstance(value, dict):
        element.extend(_element(name, member) for name, member in value.items())
    elif isinstance(value, list):
        element.extend(_element(singular_of(tag), member) for member in value)
    elif isinstance(value, str) and (found := _JSON_DATE.fullmatch(value)):
        element.text = iso_date(int(found[1]) / 1000)
    else:
        element.text = json.dumps(value) if isinstance(value, bool) else str(value)
    return element


def _plural(tag: str) -> str:
    if tag.endswith("y"):
        return tag[:-1] + "ies"
    return tag + ("es" if tag.endswith("s") else "s")
