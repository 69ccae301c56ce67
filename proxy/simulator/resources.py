"""What the simulated API can do once a call has passed every gate: paths to records and back.

Nothing here knows of limits, tokens or faults. `perform` is where a call is executed.
"""

from __future__ import annotations

import mimetypes
from random import Random
from urllib.parse import unquote
from uuid import NAMESPACE_DNS, uuid5

from proxy.simulator import answers
from proxy.simulator.answers import Answer, SimRequest
from proxy.simulator.records import Attachment, Checked, Organisation
from proxy.simulator.tables import BadFilter, Table, paged
from proxy.simulator.wire import Record, Unreadable, json_date, records, respond

ACCOUNTING = "/api.xro/2.0/"


class Resources:
    """All organisations' records. `wall` is the simulator's wall clock, in seconds since 1970."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._organisations: dict[str, Organisation] = {}

    def organisation(self, tenant: str) -> Organisation:
        """The organisation, made at its first use."""
        if tenant not in self._organisations:
            self._organisations[tenant] = Organisation(f"Organisation {tenant[:8]}", self._random)
        return self._organisations[tenant]

    def perform(self, request: SimRequest, tenant: str, wall: float) -> Answer:
        """Execute one call of the Accounting API; any other path does not exist."""
        if not request.path.lower().startswith(ACCOUNTING):
            return answers.NOT_FOUND
        endpoint, *rest = (unquote(part) for part in request.path[len(ACCOUNTING) :].rstrip("/").split("/"))
        organisation = self.organisation(tenant)
        try:
            return _route(organisation, request, endpoint.lower(), rest, wall)
        except Unreadable as error:
            return _exception(request, 14, "PostDataInvalidException", str(error))
        except BadFilter as error:
            return _exception(request, 16, "QueryParseException", f"No property or operator: {error}")
        except (OverflowError, ValueError):
            return _invalid(request, [Checked({}, ("Input string was not in a correct format.",))])


def _route(org: Organisation, request: SimRequest, endpoint: str, rest: list[str], wall: float) -> Answer:
    match (request.method, endpoint, *rest):
        case ("GET", "organisation" | "organisations"):
            return _envelope(request, {"Organisations": [_about(org)]}, wall)
        case ("GET", "reports", name, *_):
            report = {"ReportID": name, "ReportName": name, "ReportType": name, "Rows": []}
            return _envelope(request, {"Reports": [report]}, wall)
        case (_, "contacts" | "invoices", record_id, "Attachments" | "attachments", *name):
            return _attachment(org, request, (endpoint, record_id.lower()), name, wall)
        case ("GET", "contacts" | "invoices"):
            return _list(request, endpoint, _table(org, endpoint), wall)
        case ("GET", "contacts" | "invoices", record_id):
            table = _table(org, endpoint)
            found = table.get(record_id) or table.find(record_id)
            return _envelope(request, {endpoint.title(): [found]}, wall) if found else answers.NOT_FOUND
        case ("PUT" | "POST", "contacts" | "invoices"):
            return _save(org, request, endpoint, {}, wall)
        case ("POST", "contacts" | "invoices", record_id):
            table = _table(org, endpoint)
            return _save(org, request, endpoint, {table.id_member: record_id}, wall)
        case (_, "organisation" | "organisations" | "reports" | "contacts" | "invoices", *_):
            words = "The Api Method called is not implemented"
            return _exception(request, 20, "ApiMethodNotImplementedException", words, status=501)
        case _:
            return answers.NOT_FOUND


def _table(org: Organisation, endpoint: str) -> Table:
    return org.contacts if endpoint == "contacts" else org.invoices


def _list(request: SimRequest, endpoint: str, table: Table, wall: float) -> Answer:
    found, pagination = paged(table.select(request.query), request.query)
    extra = {} if pagination is None else {"pagination": pagination}
    return _envelope(request, {**extra, endpoint.title(): found}, wall)


def _save(org: Organisation, request: SimRequest, endpoint: str, fixed: Record, wall: float) -> Answer:
    """Create or update; all elements or none, unless `summarizeErrors=false` asks for each by itself."""
    contacts = endpoint == "contacts"
    check, store = (
        (org.check_contact, org.store_contact) if contacts else (org.check_invoice, org.store_invoice)
    )
    plural, singular = endpoint.title(), endpoint.title()[:-1]
    create = request.method == "PUT"
    checked = [check({**e, **fixed}, wall, create=create) for e in records(request, plural, singular)]
    each = request.query.get("summarizeErrors", "").lower() == "false"
    if not each and any(element.errors for element in checked):
        return _invalid(request, checked)
    saved = [_failed(e) if e.errors else _stored(store(e.record, wall), each=each) for e in checked]
    return _envelope(request, {plural: saved}, wall)


def _stored(record: Record, *, each: bool) -> Record:
    return {**record, "StatusAttributeString": "OK"} if each else record


def _failed(element: Checked) -> Record:
    errors = [{"Message": message} for message in element.errors]
    return {
        **element.record,
        "HasValidationErrors": True,
        "StatusAttributeString": "ERROR",
        "ValidationErrors": errors,
    }


def _attachment(
    org: Organisation, request: SimRequest, owner: tuple[str, str], name: list[str], wall: float
) -> Answer:
    """Upload, list or download the files beside a record, found by name or id."""
    files = org.attachments.setdefault(owner, {})
    match (request.method, *name):
        case ("GET",):
            return _envelope(request, {"Attachments": [_described(file) for file in files.values()]}, wall)
        case ("GET", wanted):
            found = next((f for f in files.values() if wanted in {f.name, f.attachment_id}), None)
            if found is None:
                return answers.NOT_FOUND
            return Answer(200, ((b"Content-Type", found.content_type.encode("latin-1")),), found.content)
        case ("PUT" | "POST", wanted):
            guessed = mimetypes.guess_type(wanted)[0] or "application/octet-stream"
            content_type = request.header(b"content-type") or guessed
            files[wanted] = Attachment(org.new_id(), wanted, content_type, request.body)
            return _envelope(request, {"Attachments": [_described(files[wanted])]}, wall)
        case _:
            return answers.NOT_FOUND


def _described(file: Attachment) -> Record:
    return {
        "AttachmentID": file.attachment_id,
        "FileName": file.name,
        "MimeType": file.content_type,
        "ContentLength": len(file.content),
        "IncludeOnline": False,
    }


def _about(org: Organisation) -> Record:
    return {
        "OrganisationID": str(uuid5(NAMESPACE_DNS, org.name)),
        "Name": org.name,
        "LegalName": org.name,
        "Version": "NZ",
        "OrganisationType": "COMPANY",
        "BaseCurrency": "NZD",
        "CountryCode": "NZ",
        "IsDemoCompany": True,
        "OrganisationStatus": "ACTIVE",
        "ShortCode": "!" + uuid5(NAMESPACE_DNS, org.name).hex[:6],
    }


def _envelope(request: SimRequest, members: Record, wall: float) -> Answer:
    about = {
        "Id": str(uuid5(NAMESPACE_DNS, f"{request.target} {wall}")),
        "Status": "OK",
        "ProviderName": "Xero simulator",
        "DateTimeUTC": json_date(wall),
    }
    return respond(request, 200, {**about, **members})


def _invalid(request: SimRequest, elements: list[Checked]) -> Answer:
    failed = [_failed(element) for element in elements if element.errors]
    return _exception(request, 10, "ValidationException", "A validation exception occurred", failed)


def _exception(
    request: SimRequest,
    number: int,
    kind: str,
    message: str,
    elements: list[Record] | None = None,
    status: int = 400,
) -> Answer:
    value: Record = {"ErrorNumber": number, "Type": kind, "Message": message}
    if elements is not None:
        value["Elements"] = elements
    return respond(request, status, value, root="ApiException")
