"""What the simulator plays, the proxy's table of responses has a name for: neither knows of the other."""

from __future__ import annotations

import pytest

from config.responses import load_responses
from proxy.core.answers.classify import classify
from proxy.core.wire.fields import Fields
from proxy.simulator.faults import FAILURES, Fault, FaultKind
from tests.simulator.calls import ask, call, make

TABLE = load_responses()
CLASSES = {
    FaultKind.LIMIT_MINUTE: "limit_minute",
    FaultKind.LIMIT_DAY: "limit_day",
    FaultKind.LIMIT_CONCURRENT: "limit_concurrent",
    FaultKind.LIMIT_APP_MINUTE: "limit_appminute",
    FaultKind.LIMIT_OAUTH1: "limit_unnamed",
    FaultKind.UNAUTHORISED: "unauthorised",
    FaultKind.INSUFFICIENT_SCOPE: "scope_missing",
    FaultKind.OAUTH1: "oauth1_error",
    FaultKind.DISCONNECTED: "wrong_tenant",
    FaultKind.CLIENT_CERTIFICATE: "client_certificate",
    FaultKind.INVALID_PROJECT: "validation",
    FaultKind.INVALID_FILE: "validation",
    FaultKind.INVALID_ASSET: "validation",
    FaultKind.INVALID_PAYROLL: "validation",
    FaultKind.HIGH_VOLUME: "high_volume",
    FaultKind.PRECONDITION: "precondition_failed",
    FaultKind.TEAPOT: "teapot",
    FaultKind.INTERNAL_ERROR: "internal_error",
    FaultKind.NGINX_ERROR: "internal_error",
    FaultKind.BAD_GATEWAY: "bad_gateway",
    FaultKind.EDGE_UNAVAILABLE: "edge_unavailable",
    FaultKind.FINANCE_UNAVAILABLE: "finance_unavailable",
    FaultKind.GATEWAY_TIMEOUT: "gateway_timeout",
}
APIS = {
    FaultKind.INVALID_PROJECT: "projects",
    FaultKind.INVALID_FILE: "files",
    FaultKind.INVALID_ASSET: "assets",
    FaultKind.INVALID_PAYROLL: "payroll",
    FaultKind.FINANCE_UNAVAILABLE: "finance",
}


@pytest.mark.parametrize("kind", [kind for kind, failure in FAILURES.items() if failure.answer])
def test_every_answer_that_is_played_has_its_class(kind: FaultKind) -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(kind))
    answer = ask(xero, call())
    found = classify(TABLE, answer.status, Fields(answer.headers), answer.body, APIS.get(kind, "accounting"))
    assert found.name == CLASSES[kind]
