from __future__ import annotations

import pytest

from proxy.simulator.faults import FAILURES, Executed, Fate, Fault, FaultKind, Place
from tests.simulator.calls import API, PUT_BILL, REMAINING, ask, bill, call, field, make, said

BODY = {Fate.ANSWERED: 200, Fate.TRUNCATED: 200, Fate.SLOW: 200}
STATUSES = {
    FaultKind.LIMIT_MINUTE: 429,
    FaultKind.LIMIT_DAY: 429,
    FaultKind.LIMIT_CONCURRENT: 429,
    FaultKind.LIMIT_APP_MINUTE: 429,
    FaultKind.LIMIT_OAUTH1: 503,
    FaultKind.UNAUTHORISED: 401,
    FaultKind.INSUFFICIENT_SCOPE: 401,
    FaultKind.OAUTH1: 401,
    FaultKind.DISCONNECTED: 403,
    FaultKind.CLIENT_CERTIFICATE: 403,
    FaultKind.INVALID_PROJECT: 400,
    FaultKind.INVALID_FILE: 400,
    FaultKind.INVALID_ASSET: 400,
    FaultKind.INVALID_PAYROLL: 400,
    FaultKind.HIGH_VOLUME: 400,
    FaultKind.PRECONDITION: 412,
    FaultKind.TEAPOT: 418,
    FaultKind.INTERNAL_ERROR: 500,
    FaultKind.NGINX_ERROR: 500,
    FaultKind.BAD_GATEWAY: 502,
    FaultKind.EDGE_UNAVAILABLE: 503,
    FaultKind.FINANCE_UNAVAILABLE: 503,
    FaultKind.GATEWAY_TIMEOUT: 504,
}
KEYED = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")


@pytest.mark.parametrize("kind", FaultKind)
@pytest.mark.parametrize("asked", [False, True], ids=["not-asked", "asked"])
def test_a_failure_is_what_the_table_says_and_strikes_once(kind: FaultKind, asked: bool) -> None:
    xero, failure = make(), FAILURES[kind]
    xero.faults.fail_next(1, Fault(kind, executed=asked))
    begun = xero.arrive(PUT_BILL, 0.0)
    assert begun.fate is failure.fate
    assert begun.answer.status == STATUSES.get(kind, BODY.get(failure.fate, 0))
    if kind in STATUSES:
        assert failure.text.startswith(str(STATUSES[kind]))
    executed = failure.executed is Executed.YES or (asked and failure.executed is Executed.ASKED)
    assert [entry.executed for entry in xero.ledger.entries] == [executed]
    xero.finish(begun, 0.0)
    after = ask(xero, PUT_BILL)
    assert after.status == 200
    counted = 1 if failure.place is Place.GATE else 2
    assert field(after, b"X-MinLimit-Remaining") == str(60 - counted)


@pytest.mark.parametrize("kind", FaultKind)
def test_only_what_xero_itself_answers_is_kept_under_the_key(kind: FaultKind) -> None:
    xero, failure = make(), FAILURES[kind]
    xero.faults.fail_next(1, Fault(kind))
    failed = ask(xero, KEYED)
    again = ask(xero, KEYED)
    if failure.place is Place.XERO:
        assert (again.status, again.body) == (failed.status, failed.body)
    else:
        assert again.status == 200


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (FaultKind.LIMIT_MINUTE, ["10000", "0", "5000"]),
        (FaultKind.LIMIT_DAY, ["10000", "60", "0"]),
        (FaultKind.LIMIT_CONCURRENT, ["10000", "60", "5000"]),
        (FaultKind.LIMIT_APP_MINUTE, ["0", "60", "5000"]),
        (FaultKind.UNAUTHORISED, [None, None, None]),
        (FaultKind.INSUFFICIENT_SCOPE, ["10000", None, None]),
        (FaultKind.DISCONNECTED, ["10000", None, None]),
        (FaultKind.INTERNAL_ERROR, ["9999", "59", "4999"]),
        (FaultKind.BAD_GATEWAY, [None, None, None]),
    ],
)
def test_a_failure_tells_the_remaining_calls_that_xero_tells(kind: FaultKind, told: list[str | None]) -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(kind))
    answer = ask(xero, call())
    assert [field(answer, name) for name in REMAINING] == told
    if "429" in kind:
        assert (answer.body, field(answer, b"Content-Type")) == (b"", None)
        assert (field(answer, b"Retry-After") is None) is (kind is FaultKind.LIMIT_CONCURRENT)


def test_while_the_store_of_keys_is_down_keyed_calls_fail_and_are_not_kept() -> None:
    xero = make()
    xero.faults.keys_down(10.0)
    assert [ask(xero, KEYED, now).status for now in (0.0, 9.0, 10.0)] == [500, 500, 200]
    assert [entry.executed for entry in xero.ledger.entries] == [False, False, True]
    xero.faults.keys_down(20.0)
    assert ask(xero, PUT_BILL, 11.0).status == 200, "a call without a key is none of its business"


@pytest.mark.parametrize("kind", [FaultKind.INTERNAL_ERROR, FaultKind.GATEWAY_TIMEOUT, FaultKind.HANG])
def test_a_call_can_be_executed_and_fail_all_the_same(kind: FaultKind) -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(kind, executed=True))
    ask(xero, PUT_BILL)
    ask(xero, PUT_BILL)
    assert list(xero.ledger.duplicates().values()) == [2]


def test_a_lost_reply_executed_the_write_once_and_its_key_brings_the_answer() -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(FaultKind.LOST_REPLY))
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    assert xero.arrive(request, 0.0).fate is Fate.RESET
    answer = ask(xero, request, 1.0)
    assert (answer.status, len(said(answer)["Invoices"])) == (200, 1)
    assert sum(e.executed for e in xero.ledger.entries) == 1
    assert len(said(ask(xero, call(path=f"{API}/Invoices"), 2.0))["Invoices"]) == 1


def test_a_fault_waits_for_its_tenant_and_method_and_for_a_call_that_passes_the_limits() -> None:
    xero = make(minute_limit=1)
    xero.faults.fail_next(1, Fault(FaultKind.BAD_GATEWAY, tenant="t1", method="PUT"))
    assert ask(xero, call(tenant="t2")).status == 200
    assert ask(xero, call()).status == 200
    assert ask(xero, PUT_BILL).status == 429
    assert ask(xero, PUT_BILL, 60.0).status == 502


def test_what_a_gateway_answers_has_none_of_xeros_own_headers() -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(FaultKind.GATEWAY_TIMEOUT))
    assert ask(xero, call()).headers == ()


def test_cleared_faults_strike_no_more() -> None:
    xero = make()
    xero.faults.offline("t1")
    xero.faults.maintenance(100.0)
    xero.faults.fail_next(5, Fault(FaultKind.HANG))
    xero.faults.clear()
    assert ask(xero, call()).status == 200
    xero.faults.offline("t1")
    xero.faults.online("t1")
    assert ask(xero, call()).status == 200
