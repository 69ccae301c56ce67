from __future__ import annotations

import pytest

from proxy.simulator.calls import Fate
from proxy.simulator.faults import Fault, FaultKind
from tests.simulator.calls import API, PUT_BILL, ask, bill, call, make, said


@pytest.mark.parametrize(
    ("kind", "fate", "status", "executed"),
    [
        (FaultKind.INTERNAL_ERROR, Fate.ANSWERED, 500, False),
        (FaultKind.BAD_GATEWAY, Fate.ANSWERED, 502, False),
        (FaultKind.EDGE_UNAVAILABLE, Fate.ANSWERED, 503, False),
        (FaultKind.GATEWAY_TIMEOUT, Fate.ANSWERED, 504, False),
        (FaultKind.RESET_BEFORE, Fate.RESET, 0, False),
        (FaultKind.LOST_REPLY, Fate.RESET, 0, True),
        (FaultKind.TRUNCATE, Fate.TRUNCATED, 200, True),
        (FaultKind.SLOW_BODY, Fate.SLOW, 200, True),
        (FaultKind.HANG, Fate.HUNG, 0, False),
        (FaultKind.GARBAGE, Fate.GARBAGE, 0, False),
    ],
)
def test_a_fault_strikes_once(kind: FaultKind, fate: Fate, status: int, executed: bool) -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(kind))
    begun = xero.arrive(PUT_BILL, 0.0)
    assert (begun.fate, begun.answer.status) == (fate, status)
    assert [e.executed for e in xero.ledger.entries] == [executed]
    xero.finish(begun, 0.0)
    assert ask(xero, PUT_BILL).status == 200


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
