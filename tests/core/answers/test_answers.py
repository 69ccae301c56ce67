from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.responses import load_responses
from proxy.core.answers.answers import OWN, Answer, Form, failed, refused, written
from proxy.core.answers.classify import classify
from proxy.core.model import Access, Limit
from proxy.core.wire.fields import Fields

ID = "0123456789abcdef"
OWN_WORDS = {name: own for name, own in OWN.items() if own.form is Form.PROBLEM and name != "caller_left"}
WHEN = "2026-11-21T12:00:00Z"

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance"}
XERO_MEMBERS = {"Type", "ErrorNumber", "Title", "Status", "Detail", "Message", "Elements"}

REGISTERED = set(
    """
    dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited
    destination_ip_unroutable connection_refused connection_terminated connection_timeout
    connection_read_timeout connection_write_timeout connection_limit_reached tls_protocol_error
    tls_certificate_error tls_alert_received http_request_error http_request_denied
    http_response_incomplete http_response_header_section_size http_response_header_size
    http_response_body_size http_response_trailer_section_size http_response_trailer_size
    http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed
    http_protocol_error proxy_internal_response proxy_internal_error proxy_configuration_error
    proxy_loop_detected
    """.split()  # noqa: SIM905 -- as a list it is 31 lines
)
"""RFC 9209, section 2.3."""


def header(answer: Answer, name: bytes, accept: bytes = b"", longest: float = 300.0) -> bytes | None:
    headers, _ = written(answer, ID, accept, longest)
    values = [value for key, value in headers if key.lower() == name]
    assert len(values) <= 1
    return values[0] if values else None


def members(answer: Answer) -> dict[str, Any]:
    body = json.loads(written(answer, ID)[1])
    assert isinstance(body, dict)
    return body


names = st.sampled_from(sorted(OWN_WORDS))
reasons = st.sampled_from(["", "failing", "offline", "maintenance", "unavailable", *Limit])
whys = st.sampled_from(["", "queue_full", "draining"])
texts = st.text() | st.just("oauth_problem=rate%20limit%20exceeded\\=")


# ---- As Xero itself says it


@pytest.mark.parametrize(
    ("reason", "body"),
    [
        ("offline", b"The Organisation is offline"),
        ("maintenance", b"The Xero API is currently offline for maintenance"),
        ("unavailable", b"The Xero API is temporarily unavailable"),
    ],
)
@pytest.mark.parametrize("name", ["", "queue_full"])
def test_who_is_held_gets_xeros_own_words(reason: str, body: bytes, name: str) -> None:
    answer = refused(name, reason, 12.3, WHEN)
    assert (answer.name, answer.status) == (name or f"refused_{reason}", 503)
    assert answer.error == "destination_unavailable"
    assert written(answer, ID, b"application/problem+json") == (
        ((b"Content-Type", b"text/plain; charset=utf-8"), (b"Retry-After", b"13")),
        body,
    )


@pytest.mark.parametrize("limit", ["minute", "day", "concurrent", "appminute"])
def test_each_of_the_four_limits_is_named_as_xero_names_it(limit: str) -> None:
    answer = refused("", limit, 21.2, WHEN)
    assert (answer.name, answer.status, answer.error) == (f"refused_{limit}", 429, "http_request_denied")
    assert header(answer, b"x-rate-limit-problem") == limit.encode()
    assert header(answer, b"retry-after") == b"22"
    assert "22 s" in members(answer)["detail"]
    assert WHEN in members(answer)["detail"]


def test_the_four_limits_are_all_there_are() -> None:
    assert {limit.value for limit in Limit} == {"minute", "day", "concurrent", "appminute"}


@given(whys, reasons, st.floats(0.0, 1e6))
def test_a_limit_is_named_where_and_only_where_it_is_429(name: str, reason: str, seconds: float) -> None:
    answer = refused(name, reason, seconds, WHEN)
    problem = header(answer, b"x-rate-limit-problem")
    assert (answer.status == 429) == (problem is not None)
    assert problem is None or problem == reason.encode()
    assert answer.status in {429, 503}


@pytest.mark.parametrize(
    ("name", "reason", "expected", "words"),
    [
        ("", "failing", "refused_failing", "failing"),
        ("", "", "refused_deadline", "deadline"),
        ("queue_full", "", "queue_full", "waiting"),
        ("queue_full", "failing", "queue_full", "waiting"),
        ("draining", "", "draining", "shutting down"),
        ("draining", "minute", "draining", "shutting down"),
        ("draining", "offline", "draining", "shutting down"),
    ],
)
def test_other_refusals_say_why(name: str, reason: str, expected: str, words: str) -> None:
    answer = refused(name, reason, 3.0, WHEN)
    assert (answer.name, answer.status) == (expected, 503)
    assert answer.error == OWN[expected].error
    assert words in members(answer)["detail"]
    assert header(answer, b"retry-after") == b"3"


@pytest.mark.parametrize(("name", "reason"), [("", "minute"), ("", "failing"), ("", ""), ("draining", "")])
def test_what_may_have_been_executed_is_not_told_that_nothing_was(name: str, reason: str) -> None:
    assert "Nothing was executed" in members(refused(name, reason, 3.0, WHEN))["detail"]
    detail = members(refused(name, reason, 3.0, WHEN, unknown=True))["detail"]
    assert "Nothing was executed" not in detail
    assert "may have been executed" in detail


def test_an_expired_token_is_told_so_as_xero_tells_it() -> None:
    answer = failed("refused_expired")
    assert (answer.name, answer.status) == ("refused_expired", 401)
    assert header(answer, b"www-authenticate") == b"Bearer error=invalid_token"
    assert header(answer, b"retry-after") is None
    body = members(answer)
    assert list(body) == ["Type", "Title", "Status", "Detail", "Instance", "Extensions"]
    assert body["Detail"].startswith("TokenExpired: ")
    headers, told = written(answer, ID)
    xeros = classify(load_responses(), 401, Fields(headers), told, "accounting")
    assert xeros.access is Access.EXPIRED


def test_a_request_without_credentials_gets_xeros_401() -> None:
    answer = failed("unauthenticated")
    assert (answer.name, answer.status) == ("unauthenticated", 401)
    assert header(answer, b"www-authenticate") == b"Bearer"
    assert members(answer)["Detail"] == "AuthenticationUnsuccessful"


# ---- Plain errors


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (400, {"invalid_request", "tenant_invalid"}),
        (405, {"method_not_allowed"}),
        (408, {"body_timeout"}),
        (413, {"body_too_large"}),
        (421, {"misdirected"}),
        (429, {f"refused_{limit}" for limit in Limit}),
        (500, {"internal"}),
        (502, {"upstream_reset", "upstream_truncated", "upstream_garbage", "outcome_unknown"}),
        (502, {"connect_failed", "dns_failed", "tls_failed"}),
        (503, {"queue_full", "draining", "spool_full", "refused_failing", "refused_deadline"}),
        (504, {"upstream_timeout"}),
    ],
)
def test_an_error_has_the_status_that_the_field_knows_it_by(status: int, names: set[str]) -> None:
    for name in names:
        answer = failed(name, "A sentence.")
        assert (answer.name, answer.status) == (name, status)
        assert header(answer, b"retry-after") is None


def test_an_error_can_bring_its_own_status_type_and_time() -> None:
    answer = failed("body_timeout", "It stalled.", status=431, error="dns_error", retry_after=1)
    assert (answer.status, answer.error) == (431, "dns_error")
    assert header(answer, b"retry-after") == b"1"


def test_every_type_of_an_error_is_registered_and_every_limit_has_its_class() -> None:
    assert {own.error for own in OWN.values()} - {""} <= REGISTERED
    assert {f"refused_{limit}" for limit in Limit} <= OWN.keys()


def test_an_unknown_outcome_is_no_invitation_to_send_again() -> None:
    """xero-python would, on 429 and 503 and on anything with Retry-After."""
    answer = failed("outcome_unknown", "Nobody knows.")
    assert answer.status in {502, 504}
    assert header(answer, b"retry-after") is None


# ---- Bodies


@given(names, texts.filter(bool))
def test_a_body_holds_what_rfc_9457_and_what_xeros_sdks_ask_for(name: str, detail: str) -> None:
    answer = failed(name, detail)
    body = members(answer)
    assert set(body) == PROBLEM_MEMBERS | XERO_MEMBERS
    assert body["status"] == body["Status"] == answer.status
    assert body["detail"] == body["Detail"] == body["Message"] == detail
    assert body["title"] == body["Title"] != ""
    assert body["type"] == f"urn:xero-proxy:class:{name}"
    assert body["instance"] == f"urn:xero-proxy:request:{ID}"
    assert (body["Type"], body["ErrorNumber"], body["Elements"]) == (name, 0, [])


@given(names, whys, reasons, texts, texts, st.binary(), st.floats(0.0, 1e6))
def test_no_body_holds_an_equals_sign(
    name: str, why: str, reason: str, detail: str, number: str, accept: bytes, seconds: float
) -> None:
    """pyxero takes one in a 503 for an OAuth 1 problem."""
    for answer in (failed(name, detail, status=503), refused(why, reason, seconds, detail)):
        assert b"=" not in written(answer, number, accept)[1]


@given(names, whys, reasons)
def test_nothing_of_the_callers_is_repeated(name: str, why: str, reason: str) -> None:
    accept = b"text/canary, application/problem+json; canary=canary"
    for answer in (failed(name, "A sentence."), refused(why, reason, 1.0, WHEN)):
        headers, body = written(answer, ID, accept)
        told = b"".join((body, *(name + value for name, value in headers)))
        assert b"canary" not in told


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"", False),
        (b"*/*", False),
        (b"application/json", False),
        (b"application/problem+xml, application/json", False),
        (b"application/problem+jsonp", False),
        (b"application/problem+json;q=0", False),
        (b"application/json, application/problem+json; q=0.000", False),
        (b"application/problem+json", True),
        (b"Application/Problem+JSON", True),
        (b"application/json;q=0.5,\tapplication/problem+json ; Q=0.9", True),
        (b"application/problem+json;q=0.001", True),
    ],
)
def test_problem_json_is_for_those_who_ask_for_it(accept: bytes, wanted: bool) -> None:
    for answer in (failed("internal"), refused("", "day", 1.0, WHEN)):
        media = b"application/problem+json" if wanted else b"application/json"
        assert header(answer, b"content-type", accept) == media


def test_every_class_of_the_route_has_its_words() -> None:
    assert "printable" in members(failed("tenant_invalid"))["detail"]
    assert "not a path" in members(failed("invalid_request"))["detail"]


# ---- Retry-After


@given(whys, reasons, st.floats(-10.0, 1e6), st.floats(1.0, 1e5))
def test_retry_after_is_whole_seconds_not_too_few_and_absent_where_too_many(
    why: str, reason: str, seconds: float, longest: float
) -> None:
    value = header(refused(why, reason, seconds, WHEN), b"retry-after", longest=longest)
    if value is None:
        assert max(1.0, seconds) > longest - 1.0
    else:
        assert value.isdigit()
        assert max(1.0, seconds) <= int(value) <= longest
        assert int(value) < max(1.0, seconds) + 1.0


def test_where_retry_after_is_too_long_to_be_sent_the_body_says_when() -> None:
    answer = refused("", "day", 33_519.0, WHEN)
    assert header(answer, b"retry-after") is None
    assert "33519 s" in members(answer)["Detail"]
