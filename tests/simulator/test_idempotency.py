from __future__ import annotations

import pytest

from proxy.simulator.calls import Begun
from proxy.simulator.faults import Fault, FaultKind
from tests.simulator.calls import API, ask, bill, call, jwt, make


def test_a_repeated_key_gets_the_first_answer_and_executes_nothing() -> None:
    xero = make()
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    first, again = ask(xero, request, 0.0), ask(xero, request, 359.9)
    assert first.body == again.body
    assert xero.ledger.duplicates() == {}
    assert [(e.executed, e.replayed) for e in xero.ledger.entries] == [(True, False), (False, True)]


def test_a_repeat_is_charged() -> None:
    xero = make(minute_limit=2)
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    assert [ask(xero, request).status for _ in range(3)] == [200, 200, 429]


def test_a_key_lives_six_minutes_from_its_first_call_however_often_it_is_repeated() -> None:
    xero = make()
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    for now in (0.0, 300.0, 360.0):
        ask(xero, request, now)
    assert [e.executed for e in xero.ledger.entries] == [True, False, True]
    assert list(xero.ledger.duplicates().values()) == [2]


@pytest.mark.parametrize(
    "other",
    [
        call("POST", f"{API}/Invoices", bill("one"), idempotency_key="k"),
        call("PUT", f"{API}/Invoices?x=1", bill("one"), idempotency_key="k"),
        call("PUT", f"{API}/Invoices", bill("two"), idempotency_key="k"),
    ],
    ids=["method", "url", "body"],
)
def test_a_key_with_a_different_request_is_refused(other: object) -> None:
    xero = make()
    ask(xero, call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k"))
    answer = ask(xero, other)  # type: ignore[arg-type]
    assert (answer.status, answer.body) == (400, b"Idempotency Key: k is used with a different request.")


def test_a_key_belongs_to_the_app_so_another_tenant_gets_the_first_ones_answer() -> None:
    xero = make()
    first = ask(xero, call("PUT", f"{API}/Invoices", bill("one"), tenant="t1", idempotency_key="k"))
    second = ask(xero, call("PUT", f"{API}/Invoices", bill("one"), tenant="t2", idempotency_key="k"))
    assert first.body == second.body
    token = jwt(client_id="other")
    other = ask(xero, call("PUT", f"{API}/Invoices", bill("one"), token=token, idempotency_key="k"))
    assert other.body != first.body


def test_errors_are_kept_under_the_key() -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(FaultKind.INTERNAL_ERROR))
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    first, again = ask(xero, request), ask(xero, request)
    assert (first.status, again.status) == (500, 500)
    assert first.body == again.body
    invalid = call("PUT", f"{API}/Contacts", {"Name": ""}, idempotency_key="v")
    assert [ask(xero, invalid).status for _ in range(2)] == [400, 400]
    assert [e.replayed for e in xero.ledger.entries] == [False, True, False, True]


def test_refusals_are_not_kept_under_the_key() -> None:
    xero = make()
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    xero.faults.offline("t1", 1.0)
    assert [ask(xero, request, now).status for now in (0.0, 1.0)] == [503, 200]


def test_a_key_is_heard_only_on_writes_and_up_to_128_characters() -> None:
    xero = make()
    assert ask(xero, call("PUT", f"{API}/Invoices", bill("a"), idempotency_key="k" * 128)).status == 200
    assert ask(xero, call("PUT", f"{API}/Invoices", bill("a"), idempotency_key="k" * 129)).status == 400
    assert [ask(xero, call(idempotency_key="g" * 129)).status for _ in range(2)] == [200, 200]


def test_a_repeat_that_comes_while_the_first_is_in_progress_waits_for_its_answer() -> None:
    xero = make(latency=(1.0, 1.0))
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    first, repeat = xero.arrive(request, 0.0), xero.arrive(request, 0.9)
    assert (first.done_at, repeat.done_at) == (1.0, 1.9)


def done_at(begun: Begun) -> float:
    return begun.done_at


@pytest.mark.parametrize("seed", range(20))
def test_no_repeat_is_answered_before_the_first(seed: int) -> None:
    xero = make(latency=(0.0, 5.0), seed=seed)
    request = call("PUT", f"{API}/Invoices", bill("one"), idempotency_key="k")
    first, *repeats = [xero.arrive(request, 0.0) for _ in range(4)]
    assert min(map(done_at, repeats)) >= first.done_at
    assert {begun.answer.body for begun in repeats} == {first.answer.body}
    other = xero.arrive(call("PUT", f"{API}/Invoices", bill("two"), idempotency_key="k"), 0.0)
    assert other.answer.status == 400


@pytest.mark.parametrize("version", ["3.0", "3.1"])
def test_practice_manager_knows_no_keys(version: str) -> None:
    xero = make()
    request = call("POST", f"/practicemanager/{version}/clients", {"name": "Ada"}, idempotency_key="k")
    assert [ask(xero, request).status for _ in range(2)] == [200, 200]
    assert list(xero.ledger.duplicates().values()) == [2]
