"""The gates before the limits, and the ledger."""

from __future__ import annotations

import pytest

from proxy.core.model import Headers
from proxy.simulator.answers import SimRequest
from proxy.simulator.faults import Fault, FaultKind
from tests.simulator.calls import API, REMAINING, ask, bill, call, field, jwt, make, said


def test_connections_and_a_wrong_tenant_and_a_missing_scope_tell_only_the_apps_limit() -> None:
    xero = make(known_tenants=("t1",))
    xero.faults.fail_next(1, Fault(FaultKind.INSUFFICIENT_SCOPE))
    wrong = ask(xero, call(tenant="t2"))
    scope = ask(xero, call(tenant="t1"))
    listed = ask(xero, call(path="/Connections", tenant=""))
    assert (wrong.status, said(wrong)["Title"]) == (403, "Forbidden")
    assert said(wrong)["Detail"] == "AuthenticationUnsuccessful"
    assert (scope.status, said(scope)["Detail"]) == (401, "AuthorizationUnsuccessful")
    assert field(scope, b"WWW-Authenticate") == "insufficent_scope"
    assert [one["tenantId"] for one in said(listed)] == ["t1"]
    for answer in (wrong, scope, listed):
        assert [field(answer, name) is not None for name in REMAINING] == [True, False, False]


def test_an_organisation_can_be_disconnected_for_a_while() -> None:
    xero = make()
    xero.faults.fail_next(2, Fault(FaultKind.DISCONNECTED, tenant="t1"))
    gone = ask(xero, call(tenant="t1"))
    assert (gone.status, said(gone)["Detail"]) == (403, "AuthenticationUnsuccessful")
    assert ask(xero, call(tenant="t2")).status == 200
    assert [ask(xero, call(tenant="t1")).status for _ in "ab"] == [403, 200]


def test_an_invalid_token_is_told_no_limit() -> None:
    xero = make()
    assert ask(xero, call()).status == 200
    xero.expire_tokens(5.0)
    expired, missing = ask(xero, call(), 6.0), ask(xero, call(authorization=""), 6.0)
    assert said(expired)["Detail"].startswith("TokenExpired: token expired at ")
    assert field(expired, b"WWW-Authenticate") == "Bearer error=invalid_token"
    assert said(missing)["Detail"] == "AuthenticationUnsuccessful"
    for answer in (expired, missing):
        assert answer.status == 401
        assert not any(field(answer, name) for name in REMAINING)
    assert ask(xero, call(token="another"), 6.0).status == 200


def test_an_expired_jwt_is_refused_where_that_is_asked_for() -> None:
    token = jwt(client_id="a", exp=1000)
    for check, now, status in ((False, 2000.0, 200), (True, 999.0, 200), (True, 1000.0, 401)):
        assert ask(make(check_token_expiry=check, epoch=0.0), call(token=token), now).status == status


@pytest.mark.parametrize("headers", [(), ((b"Xero-Tenant-Id", b""),)], ids=["absent", "empty"])
def test_a_call_that_names_no_organisation_is_forbidden_unless_its_connection_has_only_one(
    headers: Headers,
) -> None:
    xero = make()
    for token, status in (
        ("opaque", 403),
        (jwt(client_id="app", xero_userid="somebody"), 403),
        (jwt(client_id="custom"), 200),
    ):
        authorised = (*headers, (b"Authorization", f"Bearer {token}".encode()))
        answer = ask(xero, SimRequest("GET", f"{API}/Organisation", authorised))
        assert answer.status == status
        if status == 403:
            assert (said(answer)["Title"], said(answer)["Detail"]) == (
                "Forbidden",
                "AuthenticationUnsuccessful",
            )
            assert [field(answer, name) is not None for name in REMAINING] == [True, False, False]
    assert xero.tenants() == ["custom"]


def test_an_offline_organisation_is_one_alone_until_its_time() -> None:
    xero = make()
    xero.faults.offline("t1", 300.0)
    answer = ask(xero, call(), 299.0)
    assert (answer.status, answer.body) == (503, b"The Organisation is offline")
    assert field(answer, b"Content-Type") == "text/plain; charset=utf-8"
    assert field(answer, b"Retry-After") is None
    assert ask(xero, call(tenant="t2"), 299.0).status == 200
    assert ask(xero, call(), 300.0).status == 200


def test_an_outage_stops_everybody_and_spends_nothing() -> None:
    xero = make()
    xero.faults.maintenance(10.0)
    assert ask(xero, call(), 9.0).body == b"The Xero API is currently offline for maintenance"
    xero.faults.unavailable(20.0)
    assert ask(xero, call(tenant="t2"), 19.0).body == b"The Xero API is temporarily unavailable"
    assert field(ask(xero, call(), 20.0), b"X-MinLimit-Remaining") == "59"


def test_a_disconnected_organisation_is_forbidden() -> None:
    xero = make()
    ask(xero, call())
    (one,) = said(ask(xero, call(path="/connections", tenant="")))
    assert ask(xero, call("DELETE", f"/connections/{one['id']}", tenant="")).status == 204
    assert ask(xero, call()).status == 403


def test_the_ledger_holds_what_arrived_and_no_secret() -> None:
    xero = make()
    path = f"{API}/Invoices?where=canary"
    ask(xero, call("PUT", path, bill("canary"), token="canary", idempotency_key="canary"), 12.0)
    (entry,) = xero.ledger.entries
    assert (entry.sequence, entry.time, entry.tenant, entry.method) == (1, 12.0, "t1", "PUT")
    assert (entry.path, entry.status, entry.executed) == (f"{API}/Invoices", 200, True)
    assert "canary" not in repr(entry)
    assert "canary" not in repr(xero.ledger.writes)


def test_a_write_that_was_refused_after_its_execution_counts_as_executed() -> None:
    xero = make()
    request = call("PUT", f"{API}/Contacts", {"Name": "One"})
    assert [ask(xero, request).status for _ in range(2)] == [200, 400]
    assert list(xero.ledger.duplicates().values()) == [2]
