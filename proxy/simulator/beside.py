"""What hangs on a record of the Accounting API and has a path of its own: files, notes, some of its lists."""

from __future__ import annotations

import mimetypes

from proxy.simulator.accounting import Resource
from proxy.simulator.answers import NO_CONTENT, NOT_FOUND, Answer, SimRequest
from proxy.simulator.records import Attachment, Organisation
from proxy.simulator.wire import Record, envelope, json_date, records


def beside(
    org: Organisation,
    request: SimRequest,
    resource: Resource,
    record_id: str,
    part: str,
    names: list[str],
    wall: float,
) -> Answer:
    """Answer a call to `…/{record_id}/{part}/{names}`; `part` is in lower case."""
    place = (resource.plural, record_id.lower())
    if part == "attachments":
        return _attachment(org, request, place, names, wall)
    if part == "history" and not names and request.method in {"GET", "PUT"}:
        notes = org.history.setdefault(place, [])
        new = [] if request.method == "GET" else records(request, "HistoryRecords")
        notes += [{"DateUTC": json_date(wall), "Changes": "Note", **note} for note in new]
        return envelope(request, {"HistoryRecords": new or notes}, wall)
    member = next((name for name in resource.parts if name.lower() == part), None)
    found = org.tables[resource.plural].get(record_id)
    if member is None or found is None:
        return NOT_FOUND
    return _part(org, request, resource, found, member, names, wall)


def _part(
    org: Organisation,
    request: SimRequest,
    resource: Resource,
    record: Record,
    member: str,
    names: list[str],
    wall: float,
) -> Answer:
    part_id, old = resource.parts[member], record[member]
    match (request.method, *names):
        case ("GET",):
            return envelope(request, {member: old}, wall)
        case ("PUT",):
            changed = [{part_id: org.new_id(), **element} for element in records(request, member)]
            kept = [*old, *changed]
        case ("POST", wanted) if changed := [each for each in old if each[part_id] == wanted]:
            (update,) = records(request, member)[:1]
            changed = [{**each, **update, part_id: wanted} for each in changed]
            kept = [each for each in old if each[part_id] != wanted] + changed
        case ("DELETE", *wanted):
            kept = [each for each in old if wanted and each[part_id] != wanted[0]]
            changed = []
        case _:
            return NOT_FOUND
    org.tables[resource.plural].store({**record, member: kept})
    return envelope(request, {member: changed}, wall) if changed else NO_CONTENT


def _attachment(
    org: Organisation, request: SimRequest, owner: tuple[str, str], name: list[str], wall: float
) -> Answer:
    """Upload, list or download the files beside a record, found by name or id."""
    files = org.attachments.setdefault(owner, {})
    match (request.method, *name):
        case ("GET",):
            return envelope(request, {"Attachments": [_described(file) for file in files.values()]}, wall)
        case ("GET", wanted):
            found = next((f for f in files.values() if wanted in {f.name, f.attachment_id}), None)
            if found is None:
                return NOT_FOUND
            return Answer(200, ((b"Content-Type", found.content_type.encode("latin-1")),), found.content)
        case ("PUT" | "POST", wanted):
            guessed = mimetypes.guess_type(wanted)[0] or "application/octet-stream"
            content_type = request.header(b"content-type") or guessed
            files[wanted] = Attachment(org.new_id(), wanted, content_type, request.body)
            return envelope(request, {"Attachments": [_described(files[wanted])]}, wall)
        case _:
            return NOT_FOUND


def _described(file: Attachment) -> Record:
    return {
        "AttachmentID": file.attachment_id,
        "FileName": file.name,
        "MimeType": file.content_type,
        "ContentLength": len(file.content),
        "IncludeOnline": False,
    }
