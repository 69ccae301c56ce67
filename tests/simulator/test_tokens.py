from __future__ import annotations

import base64
import json
from urllib.parse import urlencode

import pytest

from proxy.simulator.answers import Answer, SimRequest
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.xero import Xero
from tests.simulator.calls import ask, call, make, said

EPOCH = 1_790_000_000.0


def grant(xero: Xero, now: float, **form: str) -> Answer:
    form = {"client_id": "app-1", **form}
    return ask(xero, SimRequest("POST", "/connect/token", (), urlencode(form).encode()), now)


def refresh(xero: Xero, token: str, now: float = 0.0) -> Answer:
    return grant(xero, now, grant_type="refresh_token", refresh_token=token)


def test_an_access_token_is_a_jwt_that_names_its_app_and_end() -> None:
    xero = make(epoch=EPOCH, check_token_expiry=True)
    granted = said(grant(xero, 10.0, grant_type="client_credentials"))
    claims = json.loads(base64.urlsafe_b64decode(granted["access_token"].split(".")[1] + "=="))
    assert (claims["client_id"], claims["exp"]) == ("app-1", EPOCH + 1810)
    assert (granted["expires_in"], granted["token_type"]) == (1800, "Bearer")
    assert "refresh_token" not in granted
    assert ask(xero, call(tenant="", token=granted["access_token"]), 1809.0).status == 200
    assert ask(xero, call(tenant="", token=granted["access_token"]), 1810.0).status == 401


def test_a_refresh_token_rotates_and_the_old_one_has_thirty_minutes_of_grace() -> None:
    xero = make()
    first = said(grant(xero, 0.0, grant_type="authorization_code", code="c"))["refresh_token"]
    second = said(refresh(xero, first, 100.0))["refresh_token"]
    assert second != first
    assert refresh(xero, first, 1800.0).status == 200
    late = refresh(xero, first, 1900.0)
    assert (late.status, said(late)) == (400, {"error": "invalid_grant"})
    assert refresh(xero, second, 1900.0).status == 200


def test_a_refresh_token_lives_sixty_days() -> None:
    for days, status in ((59.9, 200), (60.0, 400)):
        xero = make()
        token = said(grant(xero, 0.0, grant_type="authorization_code", code="c"))["refresh_token"]
        assert refresh(xero, token, days * 86400).status == status


def test_a_refresh_token_from_before_the_start_is_taken_once_and_rotates() -> None:
    xero = make()
    assert refresh(xero, "old").status == 200
    assert refresh(xero, "old", 1800.0).status == 400


def test_a_lost_refresh_reply_is_repaired_within_the_grace() -> None:
    xero = make()
    xero.faults.fail_next(1, Fault(FaultKind.LOST_REPLY))
    assert refresh(xero, "mine").status == 0
    assert refresh(xero, "mine", 60.0).status == 200


def test_a_revoked_token_is_worth_nothing() -> None:
    xero = make()
    assert ask(xero, SimRequest("POST", "/connect/revocation", (), b"token=mine")).status == 200
    assert said(refresh(xero, "mine")) == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "refresh_token"}, "invalid_grant"),
        ({"grant_type": "authorization_code"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_id": ""}, "invalid_client"),
    ],
)
def test_a_bad_grant_is_refused(form: dict[str, str], error: str) -> None:
    answer = grant(make(), 0.0, **form)
    assert (answer.status, said(answer)) == (400, {"error": error})


def test_the_client_may_be_named_by_http_basic() -> None:
    def granted(credentials: str) -> int:
        headers = ((b"Authorization", f"Basic {credentials}".encode()),)
        return ask(
            make(), SimRequest("POST", "/connect/token", headers, b"grant_type=client_credentials")
        ).status

    assert granted(base64.b64encode(b"app-1:secret").decode()) == 200
    assert granted("!") == 400


def test_the_identity_host_spends_no_limit_and_knows_no_keys() -> None:
    xero = make(minute_limit=1, app_minute_limit=1)
    answers = [ask(xero, SimRequest("GET", "/.well-known/openid-configuration")) for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert said(answers[0])["token_endpoint"].endswith("/connect/token")
    headers = ((b"Idempotency-Key", b"k"),)
    body = b"grant_type=client_credentials&client_id=a"
    tokens = {
        said(ask(xero, SimRequest("POST", "/connect/token", headers, body)))["access_token"] for _ in "ab"
    }
    assert len(tokens) == 2
    assert ask(xero, SimRequest("GET", "/connect/token")).status == 404
