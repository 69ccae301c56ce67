from __future__ import annotations

import copy
import tomllib
from typing import Any

import pytest

from config.responses import RESPONSES, BadTable, load_responses, read_responses
from proxy.core.answers.answers import OWN
from proxy.core.answers.classify import classify, failure_class
from proxy.core.model import Execution, Headers, HoldRule, Limit, Scope
from proxy.core.wire.fields import Fields

TABLE = load_responses()

ACCOUNTING = (200, 400, 401, 403, 404, 412, 429, 500, 501, 503)
PROJECTS = (200, 201, 204, 400, 401, 404, 500, 503)
OAUTH1_YEARS = (200, 400, 401, 403, 404, 418, 501, 503)
GENERAL = (
    *(100, 101, 102),
    *(201, 202, 203, 204, 205, 206, 207, 208, 226),
    *(300, 301, 302, 303, 304, 305, 307, 308),
    *range(400, 419),
    *(421, 422, 423, 424, 426, 428, 429, 431, 444, 451, 499),
    *(500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 599),
)
REFERENCE = (400, 401, 403, 404, 405, 409, 422, 429, 500, 502, 503, 504)

FAILURES = {
    "connect_failed": Execution.NEVER_SENT,
    "dns_failed": Execution.NEVER_SENT,
    "tls_failed": Execution.NEVER_SENT,
    "upstream_timeout": Execution.UNKNOWN,
    "upstream_reset": Execution.UNKNOWN,
    "upstream_truncated": Execution.UNKNOWN,
    "upstream_garbage": Execution.UNKNOWN,
}

OAUTH1_LIMIT = (
    b"oauth_problem=rate%20limit%20exceeded"
    b"&oauth_problem_advice=please%20wait%20before%20retrying%20the%20xero%20api"
)
UNAUTHORISED = (
    b'{"Type":null,"Title":"Unauthorized","Status":401,"Detail":"%s","Instance":"x","Extensions":{}}'
)
FORBIDDEN = b'{"Type":null,"Title":"Forbidden","Status":403,"Detail":"AuthenticationUnsuccessful"}'
API_EXCEPTION = (
    b"<ApiException><ErrorNumber>%d</ErrorNumber><Type>%s</Type><Message>m</Message></ApiException>"
)


def problem(name: bytes, *more: tuple[bytes, bytes]) -> Headers:
    return ((b"X-Rate-Limit-Problem", name), *more)


@pytest.mark.parametrize("status", sorted({*ACCOUNTING, *PROJECTS, *OAUTH1_YEARS, *GENERAL, *REFERENCE}))
def test_every_documented_status_has_a_row_of_its_own(status: int) -> None:
    assert TABLE.rows[status][-1].match is None


@pytest.mark.parametrize(
    ("status", "headers", "body", "api", "name"),
    [
        (
            400,
            (),
            b'{"ErrorNumber":10,"Type":"ValidationException","Message":"m"}',
            "accounting",
            "validation",
        ),
        (400, (), API_EXCEPTION % (10, b"ValidationException"), "accounting", "validation"),
        (400, (), b'{"ErrorNumber":14,"Type":"PostDataInvalidException"}', "accounting", "post_data_invalid"),
        (400, (), b'{"ErrorNumber":51,"Type":"HighVolumeException"}', "accounting", "high_volume"),
        (400, (), b'{"message":"The request is invalid.","modelState":{}}', "projects", "validation"),
        (400, (), b'[{"type":"Validation","title":"t"}]', "files", "validation"),
        (400, (), b'{"fieldValidationErrors":[]}', "assets", "validation"),
        (400, (), b'{"problem":{"invalidFields":[]}}', "payroll", "validation"),
        (
            *(400, (), b"Idempotency Key: KEY_VALUE is used with a different request."),
            *("accounting", "idempotency_mismatch"),
        ),
        (400, (), b'{"error":"invalid_grant"}', "token", "invalid_grant"),
        (400, (), b'{"error":"unauthorized_client"}', "token", "unauthorized_client"),
        (400, (), b'{"error":"invalid_client"}', "token", "invalid_client"),
        (401, (), b"", "token", "invalid_client"),
        (400, (), b'{"error":"invalid_grant"}', "accounting", "bad_request"),
        (400, (), b"", "accounting", "bad_request"),
        (401, (), UNAUTHORISED % b"TokenExpired: token expired at 01/01/2026", "accounting", "token_expired"),
        (401, (), UNAUTHORISED % b"AuthenticationUnsuccessful", "accounting", "unauthorised"),
        (401, (), UNAUTHORISED % b"AuthorizationUnsuccessful", "accounting", "scope_missing"),
        (401, ((b"WWW-Authenticate", b"insufficent_scope"),), b"", "accounting", "scope_missing"),
        (401, ((b"www-authenticate", b"Bearer error=invalid_token"),), b"", "accounting", "token_invalid"),
        (401, (), b"oauth_problem=xxx&oauth_problem_advice=xxx", "accounting", "oauth1_error"),
        (401, (), b"", "projects", "projects_unauthorised"),
        (401, (), b"", "accounting", "unauthorised"),
        (403, (), FORBIDDEN, "accounting", "wrong_tenant"),
        (403, (), b"<!DOCTYPE html>\n<HTML> </HTML>", "accounting", "client_certificate"),
        (403, (), b"", "accounting", "forbidden"),
        (404, (), b"The resource you're looking for cannot be found", "accounting", "not_found"),
        (412, (), b"", "accounting", "precondition_failed"),
        (418, (), b"I'm a teapot!", "accounting", "teapot"),
        (422, (), b'{"message":"The given data was invalid.","errors":{}}', "other", "validation"),
        (429, problem(b"minute"), b"", "accounting", "limit_minute"),
        (429, problem(b" Minute "), b"", "accounting", "limit_minute"),
        (429, problem(b"day"), b"", "accounting", "limit_day"),
        (429, problem(b"Daily"), b"", "accounting", "limit_day"),
        (429, problem(b"DayLimit"), b"", "accounting", "limit_day"),
        (429, problem(b"concurrent"), b"", "accounting", "limit_concurrent"),
        (429, problem(b"AppMinute"), b"", "accounting", "limit_appminute"),
        (429, problem(b"minute", (b"x-daylimit-remaining", b"0")), b"", "accounting", "limit_day"),
        (429, ((b"X-DayLimit-Remaining", b"0"),), b"", "accounting", "limit_day"),
        (429, ((b"X-MinLimit-Remaining", b"0"),), b"", "accounting", "limit_minute"),
        (429, ((b"X-AppMinLimit-Remaining", b"0"),), b"", "accounting", "limit_appminute"),
        (429, ((b"Retry-After", b"22"),), b"", "accounting", "limit_unnamed"),
        (429, problem(b"teatime"), b"", "accounting", "limit_unnamed"),
        (429, (), b"", "accounting", "limit_unnamed"),
        (500, (), b'{"Title":"An error occurred","Status":500}', "accounting", "internal_error"),
        (500, (), b"<html>nginx</html>", "accounting", "internal_error"),
        (501, (), API_EXCEPTION % (20, b"ApiMethodNotImplementedException"), "accounting", "not_implemented"),
        (502, (), b"", "accounting", "bad_gateway"),
        (504, (), b"<html></html>", "accounting", "gateway_timeout"),
        (503, (), b"The Organisation is offline", "accounting", "offline"),
        (503, (), b"\xef\xbb\xbfthe organisation is OFFLINE\r\n", "projects", "offline"),
        (503, (), b"The Xero API is currently offline for maintenance", "accounting", "maintenance"),
        (503, (), b"The Xero API is temporarily unavailable", "projects", "unavailable"),
        (503, (), b"<H1>Service Unavailable - Zero size object</H1>", "accounting", "edge_unavailable"),
        (503, (), b'{"type":"service-unavailable","title":"t"}', "finance", "finance_unavailable"),
        (503, (), b'{"message":"Rate Limit Exceeded"}', "projects", "limit_unnamed"),
        (503, problem(b"minute"), b"", "projects", "limit_minute"),
        (503, (), OAUTH1_LIMIT, "accounting", "limit_unnamed"),
        (503, (), b"\x1f\x8b\x08\x00compressed", "accounting", "service_unavailable"),
        (503, (), b"", "accounting", "service_unavailable"),
        (200, (), b"The Organisation is offline", "accounting", "success"),
        (101, (), b"", "accounting", "upstream_garbage"),
        (99, (), b"", "accounting", "upstream_garbage"),
        (999, (), b"", "accounting", "upstream_garbage"),
        (299, (), b"", "accounting", "success"),
        (399, (), b"", "accounting", "redirect"),
        (419, (), b"", "accounting", "client_error"),
        (520, (), b"", "accounting", "server_error"),
    ],
)
def test_known_responses_get_their_class(
    status: int, headers: Headers, body: bytes, api: str, name: str
) -> None:
    assert classify(TABLE, status, Fields(headers), body, api).name == name


@pytest.mark.parametrize(
    ("status", "headers", "body", "hold", "limit"),
    [
        (429, problem(b"minute"), b"", HoldRule(Scope.TENANT, "minute", "retry_after"), Limit.MINUTE),
        (429, problem(b"day"), b"", HoldRule(Scope.TENANT, "day", "retry_after"), Limit.DAY),
        (429, problem(b"appminute"), b"", HoldRule(Scope.APP, "appminute", "retry_after"), Limit.APP_MINUTE),
        (
            429,
            problem(b"concurrent"),
            b"",
            HoldRule(Scope.TENANT, "concurrent", 0.25, probe=False),
            Limit.CONCURRENT,
        ),
        (503, (), b"The Organisation is offline", HoldRule(Scope.TENANT, "offline", "offline"), None),
        (
            *(503, (), b"The Xero API is currently offline for maintenance"),
            *(HoldRule(Scope.API, "maintenance", "backoff"), None),
        ),
    ],
)
def test_a_refusal_holds_its_scope_and_was_not_executed(
    status: int, headers: Headers, body: bytes, hold: HoldRule, limit: Limit | None
) -> None:
    found = classify(TABLE, status, Fields(headers), body, "accounting")
    assert (found.hold, found.limit, found.execution) == (hold, limit, Execution.REJECTED)
    assert not found.healthy
    assert not found.breaks


@pytest.mark.parametrize(
    ("execution", "breaks", "statuses"),
    [
        (Execution.CACHED, False, [500]),
        (Execution.UNKNOWN, True, [100, 101, 502, 503, 504, 520, 599, 600]),
        (Execution.DONE, False, [501, 505, 506, 507, 508, 510, 511]),
        (Execution.DONE, False, [200, 204, 302, 400, 401, 403, 404, 408, 418, 499]),
        (Execution.REJECTED, False, [429]),
    ],
)
def test_the_status_alone_says_what_is_known_of_the_execution(
    execution: Execution, breaks: bool, statuses: list[int]
) -> None:
    for status in statuses:
        found = classify(TABLE, status, Fields(), b"", "accounting")
        assert (found.execution, found.breaks) == (execution, breaks), status


@pytest.mark.parametrize("status", range(200, 600))
def test_an_answer_of_the_api_itself_is_healthy(status: int) -> None:
    expected = status < 500 and status not in {401, 403, 429}
    assert classify(TABLE, status, Fields(), b"", "accounting").healthy is expected


def test_every_failure_has_its_row() -> None:
    assert TABLE.named.keys() == {*FAILURES, "refused_deadline"}
    assert {name for name, own in OWN.items() if not own.error} == {*FAILURES, "caller_left"}


@pytest.mark.parametrize(("name", "execution"), FAILURES.items())
def test_a_failure_counts_towards_the_breaker_or_holds_the_host(name: str, execution: Execution) -> None:
    found, never = failure_class(TABLE, name), execution is Execution.NEVER_SENT
    hold = HoldRule(Scope.HOST, "failing", "backoff") if never else None
    assert (found.execution, found.breaks, found.hold) == (execution, not never, hold)


def document() -> dict[str, Any]:
    return tomllib.loads(RESPONSES.read_text("utf-8"))


GOOD = {"class": "teapot2", "status": 306, "execution": "done", "source": "proxy"}
HOLD = {"scope": "tenant", "reason": "minute", "seconds": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stats": 306}, "unknown key stats"),
        ({"source": "hearsay"}, "unknown source hearsay"),
        ({"class": "Teapot"}, "class must be a name"),
        ({"class": "success"}, "differs from an earlier row"),
        ({"execution": "maybe"}, "unknown execution 'maybe'"),
        ({"limit": "hour"}, "unknown limit 'hour'"),
        ({"healthy": "yes"}, "healthy must be true or false"),
        ({"status": 99}, "99 is no status"),
        ({"status": "6xx"}, "'6xx' is no status"),
        ({"status": "4xx"}, "taken by an earlier row"),
        ({"status": [306, 200]}, "takes all of 200"),
        ({"failure": True}, "needs a status"),
        ({"hold": {**HOLD, "scope": "world"}}, "unknown scope 'world'"),
        ({"hold": {**HOLD, "seconds": "soon"}}, "hold.seconds must be"),
        ({"hold": {**HOLD, "seconds": 0}}, "hold.seconds must be"),
        ({"hold": {**HOLD, "reason": ""}}, "hold.reason is missing"),
        ({"hold": {**HOLD, "until": 1}}, "unknown key in hold until"),
    ],
)
def test_a_mistake_in_a_row_is_named_with_the_row(change: dict[str, Any], message: str) -> None:
    table = document()
    table["row"].append({**GOOD, **change})
    with pytest.raises(BadTable, match=rf"^row {len(table['row'])} \(\w+\): .*") as found:
        read_responses(table)
    assert message in str(found.value)


@pytest.mark.parametrize("change", [{"failure": False}, {"failure": True, "body": "x"}, {}])
def test_a_row_without_a_status_needs_its_mark_and_no_conditions(change: dict[str, Any]) -> None:
    table = document()
    table["row"].append({key: value for key, value in GOOD.items() if key != "status"} | change)
    with pytest.raises(BadTable, match="needs a status"):
        read_responses(table)


def test_a_failure_cannot_be_listed_twice() -> None:
    table = document()
    table["row"].append(copy.deepcopy(next(row for row in table["row"] if row["class"] == "dns_failed")))
    with pytest.raises(BadTable, match="such a row already"):
        read_responses(table)


@pytest.mark.parametrize(("key", "value"), [("status", "5xx"), ("class", "upstream_garbage")])
def test_a_table_without_its_defaults_is_refused(key: str, value: str) -> None:
    table = document()
    table["row"] = [row for row in table["row"] if row.get(key) != value]
    with pytest.raises(BadTable, match="no row for"):
        read_responses(table)


def test_a_good_row_is_added() -> None:
    table = document()
    table["row"].append({**GOOD, "hold": HOLD})
    assert classify(read_responses(table), 306, Fields(), b"", "other").hold == HoldRule(
        Scope.TENANT, "minute", 1
    )


def test_temporarily_unavailable_holds_the_api_and_may_have_been_executed() -> None:
    found = classify(
        load_responses(), 503, Fields(), b"The Xero API is temporarily unavailable", "accounting"
    )
    assert found.hold == HoldRule(Scope.API, "unavailable", "backoff")
    assert found.execution is Execution.UNKNOWN
