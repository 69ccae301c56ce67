"""Xero's APIs besides Accounting: nothing is checked, and what was written can be read again.

They are here for the sake of what is the same for all: tokens, limits, keys, failures.
"""

from __future__ import annotations

import json

from proxy.simulator.answers import NO_CONTENT, NOT_FOUND, Answer, SimRequest, as_json
from proxy.simulator.records import Organisation
from proxy.simulator.wire import Record

OTHER_APIS = tuple(
    f"/{prefix}/"
    for prefix in (
        "assets.xro/1.0",
        "files.xro/1.0",
        "bankfeeds.xro/1.0",
        "finance.xro/1.0",
        "projects.xro/2.0",
        "payroll.xro/1.0",
        "payroll.xro/2.0",
        "appstore/2.0",
        "practicemanager/3.0",
        "practicemanager/3.1",
    )
)


def kept_as_sent(org: Organisation, request: SimRequest, path: str) -> Answer:
    """What is written to a path is listed there, and found below it by its id; `path` is in lower case."""
    folder, _, wanted = path.rpartition("/")
    beside = org.others.get(folder, {})
    match request.method:
        case "GET" if wanted in beside:
            return as_json(200, beside[wanted])
        case "GET":
            return as_json(200, {"items": list(org.others.get(path, {}).values())})
        case "POST" | "PUT" | "PATCH" if wanted in beside:
            beside[wanted] = {**beside[wanted], **_sent(request), "id": wanted}
            return as_json(200, beside[wanted])
        case "POST" | "PUT" | "PATCH":
            record = {**_sent(request), "id": org.new_id()}
            org.others.setdefault(path, {})[record["id"]] = record
            return as_json(200, record)
        case "DELETE":
            beside.pop(wanted, None)
            return NO_CONTENT
        case _:
            return NOT_FOUND


def _sent(request: SimRequest) -> Record:
    """A JSON object as it is; of anything else, such as a file, how long it is."""
    try:
        value = json.loads(request.body)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"bytes": len(request.body)}
