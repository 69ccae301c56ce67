"""What 401s and 403s are remembered for, in virtual time: expired tokens for seconds, lost connections."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.core.model import Access, Execution, Host, Request, ResponseClass, Route
from proxy.request.access import EXPIRED_MAX, EXPIRED_SECONDS, AccessMemory
from proxy.request.pipeline import Policy
from tests.fakes import run_virtual
from tests.inprocess import TABLE, FakeCall, Setup, token
from tests.stage import EXPIRED, OK, RESET, Stage, Step, answers, staged

FRESH = (b"Authorization", token() + b"fresh")
GONE = answers(401, body=b'{"Detail":"AuthenticationUnsuccessful"}')
FORBIDDEN = answers(403, body=b'{"Title":"Forbidden","Detail":"AuthenticationUnsuccessful"}')
NO_SCOPE = answers(401, ((b"WWW-Authenticate", b"insufficient_scope"),))


def lost(stage: Stage) -> list[tuple[str, str, str]]:
    return [(view.app, view.tenant, view.reason) for view in stage.proxy.access.view(stage.clock.now())]


@staged(EXPIRED, OK)
async def test_a_token_that_has_just_expired_is_not_tried_again_at_once(stage: Stage) -> None:
    first = await stage.ask()
    assert (first.answer.class_, first.answer.attempts) == (b"token_expired", 1)
    again = await stage.ask("GET", (b"Xero-Tenant-Id", b"another"))
    assert (again.answer.status, again.answer.class_, again.answer.attempts) == (401, b"refused_expired", 0)
    assert json.loads(again.answer.body)["Detail"].startswith("TokenExpired")
    assert again.answer.field(b"www-authenticate") == b"Bearer error=invalid_token"
    assert b"error=http_request_denied" in (again.answer.field(b"proxy-status") or b"")
    assert len(stage.xero.sent) == 1


@staged(EXPIRED, OK)
async def test_another_token_passes_at_once(stage: Stage) -> None:
    await stage.ask()
    assert (await stage.ask("GET", FRESH)).answer.status == 200


@staged(EXPIRED, OK)
async def test_xero_is_asked_again_after_a_few_seconds(stage: Stage) -> None:
    await stage.ask()
    await stage.passes(EXPIRED_SECONDS - 0.2)
    assert (await stage.ask()).answer.attempts == 0
    await stage.passes(0.3)
    assert (await stage.ask()).answer.status == 200, "what was remembered is never prolonged by itself"


@staged(EXPIRED)
async def test_a_line_of_requests_with_an_expired_token_spends_a_handful_of_calls(stage: Stage) -> None:
    calls = await asyncio.gather(*(stage.ask() for _ in range(100)))
    assert {call.answer.status for call in calls} == {401}
    assert len(stage.xero.sent) == 5, "as many as may be under way at once"
    assert stage.clock.now() < 1000.0 + EXPIRED_SECONDS
    waiting = await asyncio.gather(*(stage.ask("GET", FRESH) for _ in range(50)))
    assert {call.answer.status for call in waiting} == {401}
    assert stage.clock.now() < 1000.0 + EXPIRED_SECONDS, "no permit was burnt"


@staged(RESET, EXPIRED, setup=Setup(policy=Policy(idempotency=True)))
async def test_a_write_of_unknown_outcome_is_never_told_that_its_token_expired(stage: Stage) -> None:
    write = asyncio.ensure_future(stage.ask("PUT"))
    await stage.passes(0.11)
    stage.xero._steps = [EXPIRED]
    await stage.ask()
    call = await write
    assert (call.answer.status, call.answer.class_) == (502, b"outcome_unknown")


@staged(NO_SCOPE, answers(401, ((b"WWW-Authenticate", b"Bearer error=invalid_token"),)), GONE, OK)
async def test_no_other_401_is_held_against_a_token(stage: Stage) -> None:
    for class_ in (b"scope_missing", b"token_invalid", b"unauthorised"):
        assert (await stage.ask()).answer.class_ == class_
    assert (await stage.ask()).answer.status == 200


@pytest.mark.parametrize(("step", "reason"), [(GONE, "unauthorised"), (FORBIDDEN, "wrong_tenant")])
def test_an_organisation_whose_connection_is_gone_shows_until_a_success(step: Step, reason: str) -> None:
    async def run() -> None:
        stage = Stage(step, step, NO_SCOPE, answers(503, body=b"x"), OK)
        for _ in range(3):
            await stage.ask()
            assert lost(stage) == [("app", "t1", reason)]
        await stage.ask("GET", (b"Xero-Tenant-Id", b"t2"))
        assert lost(stage) == [("app", "t1", reason)], "another organisation's success says nothing"
        await stage.ask()
        assert lost(stage) == []

    run_virtual(run())


@staged(GONE, OK)
async def test_a_token_that_names_no_app_leaves_nothing_behind_after_a_success(stage: Stage) -> None:
    await stage.ask("GET", (b"Authorization", b"Bearer undefined"))
    assert lost(stage) == [("default", "t1", "unauthorised")]
    await stage.ask()
    assert lost(stage) == []


@staged(GONE, OK)
async def test_what_belongs_to_no_organisation_says_nothing_of_one(stage: Stage) -> None:
    call = FakeCall(stage.clock, target=b"/connections")
    await stage.proxy.handle(call)
    assert (call.answer.status, lost(stage)) == (401, [])


@staged()
async def test_expired_tokens_are_kept_as_hashes_and_not_more_than_so_many(stage: Stage) -> None:
    access: AccessMemory = stage.proxy.access
    route = Route(Host.API, "accounting", "app", "t1", limited=True, template="/")
    (row,) = (row.response for row in TABLE.rows[401] if row.response.access is Access.EXPIRED)
    request = Request("id", "GET", b"/", route, "GET", 0.0, 1.0)
    for number in range(EXPIRED_MAX + 10):
        access.learn(request._replace(authorization=b"Bearer CANARY%d" % number), row, 0.0)
    assert len(access._expired) == EXPIRED_MAX
    assert b"CANARY" not in b"".join(access._expired._values)
    access.learn(request, row, 0.0)
    assert not access.expired(None)
    access.learn(request._replace(authorization=b"Bearer x"), ResponseClass("other", Execution.DONE), 0.0)
    assert not access.expired(b"Bearer x")
