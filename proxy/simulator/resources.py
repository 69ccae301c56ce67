"""What the simulated API can do once a call has passed every gate: paths to records and back.

Nothing here knows of limits, tokens or faults. `perform` is where a call is executed. Of the Accounting API
`accounting` says what there is; the other APIs keep what they are sent and give it back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from urllib.parse import unquote
from uuid import NAMESPACE_DNS, uuid5

from proxy.simulator import answers
from proxy.simulator.accounting import BY_ENDPOINT, Resource
from proxy.simulator.answers import NO_CONTENT, Answer, SimRequest
from proxy.simulator.beside import beside
from proxy.simulator.other_apis import OTHER_APIS, kept_as_sent
from proxy.simulator.records import BAD_FORMAT, Checked, Organisation
from proxy.simulator.tables import BadFilter, paged
from proxy.simulator.wire import Record, Unreadable, envelope, records, respond, seconds_of

ACCOUNTING = "/api.xro/2.0/"


class Resources:
    """All organisations' records. `wall` is the simulator's wall clock, in seconds since 1970."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._organisations: dict[str, Organisation] = {}

    def organisation(self, tenant: str, wall: float) -> Organisation:
        """The organisation, made at its first use."""
        if tenant not in self._organisations:
            self._organisations[tenant] = Organisation(f"Organisation {tenant[:8]}", self._random, wall)
        return self._organisations[tenant]

    def perform(self, request: SimRequest, tenant: str, wall: float) -> Answer:
        """Execute one call of one of Xero's APIs; any other path does not exist."""
        organisation = self.organisation(tenant, wall)
        path = request.path.lower()
        if path.startswith(OTHER_APIS):
            return kept_as_sent(organisation, request, path.rstrip("/"))
        if not path.startswith(ACCOUNTING):
            return answers.NOT_FOUND
        endpoint, *rest = (unquote(part) for part in request.path[len(ACCOUNTING) :].rstrip("/").split("/"))
        try:
            return _route(organisation, request, endpoint.lower(), rest, wall)
        except Unreadable as error:
            return _exception(request, 14, "PostDataInvalidException", str(error))
        except BadFilter as error:
            return _exception(request, 16, "QueryParseException", f"No property or operator: {error}")
        except (OverflowError, ValueError):
            return _invalid(request, [Checked({}, (BAD_FORMAT,))])


def _route(org: Organisation, request: SimRequest, endpoint: str, rest: list[str], wall: float) -> Answer:
    match (request.method, endpoint, *rest):
        case ("GET", "organisation" | "organisations"):
            return envelope(request, {"Organisations": [_about(org)]}, wall)
        case ("GET", "reports", *names):
            reports = [{"ReportID": n, "ReportName": n, "ReportType": n, "Rows": []} for n in names[:1]]
            return envelope(request, {"Reports": reports}, wall)
        case (_, "organisation" | "organisations" | "reports", *_):
            return _not_implemented(request)
    resource = BY_ENDPOINT.get(endpoint)
    if resource is None:
        return answers.NOT_FOUND
    match rest:
        case []:
            return _collection(org, request, resource, wall)
        case [record_id]:
            return _record(org, request, resource, record_id, wall)
        case [record_id, part, *names]:
            return beside(org, request, resource, record_id, part.lower(), names, wall)
    raise AssertionError(rest)


def _collection(org: Organisation, request: SimRequest, resource: Resource, wall: float) -> Answer:
    if request.method == "GET":
        return _list(org, request, resource, wall)
    if request.method in resource.can.split():
        return _save(org, request, resource, {}, wall)
    return _not_implemented(request)


def _record(
    org: Organisation, request: SimRequest, resource: Resource, record_id: str, wall: float
) -> Answer:
    table, method = org.tables[resource.plural], request.method
    found = table.get(record_id) or table.find(record_id)
    can = resource.can.split()
    if method == "POST" and "POST/" in can:
        return _save(org, request, resource, {resource.id: found[resource.id] if found else record_id}, wall)
    deletes = method == "DELETE" and any(word.startswith("DELETE/") for word in can)
    if method != "GET" and not deletes:
        return _not_implemented(request)
    if found is None:
        return answers.NOT_FOUND
    if not deletes:
        return envelope(request, {resource.plural: [found]}, wall)
    table.remove(found)
    if "DELETE/204" in can:
        return NO_CONTENT
    return envelope(request, {resource.plural: [{**found, "Status": "DELETED"}]}, wall)


def _list(org: Organisation, request: SimRequest, resource: Resource, wall: float) -> Answer:
    """What the query and `If-Modified-Since` leave, which at Xero is a filter and no condition."""
    found = org.tables[resource.plural].select(request.query)
    if since := request.header(b"if-modified-since"):
        try:
            after = _moment(since)
        except ValueError:
            return answers.PRECONDITION
        found = [record for record in found if seconds_of(record["UpdatedDateUTC"]) > after]
    if resource.plural == "Journals":
        offset = int(request.query.get("offset", "0"))
        found = [record for record in found if record["JournalNumber"] > offset]
    found, pagination = paged(found, request.query)
    extra = {} if pagination is None else {"pagination": pagination}
    return envelope(request, {**extra, resource.plural: found}, wall)


def _moment(text: str) -> float:
    """Seconds since 1970 of a time in ISO 8601, taken for UTC, or of an HTTP date; ValueError."""
    if text[:1].isdigit():
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return parsedate_to_datetime(text).timestamp()


def _save(org: Organisation, request: SimRequest, resource: Resource, fixed: Record, wall: float) -> Answer:
    """Create or update; all elements or none, unless `summarizeErrors=false` asks for each by itself."""
    create = request.method == "PUT"
    elements = records(request, resource.plural)
    checked = [org.check(resource, {**element, **fixed}, wall, create=create) for element in elements]
    each = request.query.get("summarizeErrors", "").lower() == "false"
    if not each and any(element.errors for element in checked):
        return _invalid(request, checked)
    saved = [
        _failed(element) if element.errors else _stored(org.store(resource, element.record, wall), each=each)
        for element in checked
    ]
    return envelope(request, {resource.plural: saved}, wall)


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


def _not_implemented(request: SimRequest) -> Answer:
    words = "The Api Method called is not implemented"
    return _exception(request, 20, "ApiMethodNotImplementedException", words, status=501)


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
