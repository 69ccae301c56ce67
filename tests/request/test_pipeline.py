"""The life of a request, stage by stage, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from proxy.clock import Clock
from proxy.core.answers.retry import Backoff
from proxy.core.limits.accounts import Caps
from proxy.core.line.lines import Waiting
from proxy.core.model import Failure
from proxy.http.response import Response
from proxy.request.pipeline import Policy
from tests.inprocess import Setup, streamed
from tests.stage import BAD_GATEWAY, MAINTENANCE, OFFLINE, OK, REFUSED, RESET, Stage, answers, staged

SLOW = Setup(backoff=Backoff(first=20.0))
"""The first pause is long."""


@staged()
async def test_a_request_is_sent_once_and_answered_once(stage: Stage) -> None:
    call = await stage.ask()
    assert (call.answer.status, call.answer.body) == (200, b"ok")
    assert (call.answer.class_, call.answer.attempts) == (b"success", 1)
    assert stage.proxy.count("requests", status="200", api="accounting") == 1


@staged(RESET, OK)
async def test_a_read_whose_answer_is_lost_is_sent_again(stage: Stage) -> None:
    call = await stage.ask()
    assert (call.answer.status, call.answer.attempts) == (200, 2)
    assert stage.proxy.count("retries", **{"class": "upstream_reset"}) == 1


@staged(RESET, OK)
async def test_a_write_whose_answer_is_lost_is_repeated_under_the_same_key(stage: Stage) -> None:
    call = await stage.ask("PUT")
    first, second = stage.xero.keys()
    assert first == second != b""
    assert call.answer.status == 200


@staged(answers(503, body=OFFLINE), OK)
async def test_a_rejected_write_gets_a_new_key_lest_the_old_one_keeps_the_rejection(stage: Stage) -> None:
    await stage.ask("PUT", (b"Prefer", b"wait=600"))
    first, second = stage.xero.keys()
    assert b"" != first != second != b""


@staged(REFUSED, OK, setup=Setup(policy=Policy(idempotency=False)))
async def test_an_unkeyed_write_that_never_left_is_sent_again(stage: Stage) -> None:
    call = await stage.ask("POST")
    assert (call.answer.status, call.answer.attempts) == (200, 1)
    assert len(stage.xero.sent) == 2


@staged(BAD_GATEWAY)
async def test_retries_end_after_the_attempts_of_the_settings(stage: Stage) -> None:
    call = await stage.ask()
    assert (call.answer.status, call.answer.attempts, call.answer.body) == (502, 4, b"<html>")
    assert stage.proxy.count("retries_suppressed", reason="attempts") == 1


@staged(answers(404), setup=Setup(share=0.0))
async def test_the_budget_stops_a_storm_of_retries(stage: Stage) -> None:
    stage.xero._steps = [RESET]
    for _ in range(8):
        await stage.ask("GET", (b"Xero-Tenant-Id", b"t1"), (b"Prefer", b"wait=20"))
        await stage.passes(30.0)
        stage.proxy.store._limits.holds._breaker._own.clear()
    assert len(stage.xero.sent) <= 8 + 5
    assert stage.proxy.count("retries_suppressed", reason="budget") >= 1


@staged(answers(429, ((b"Retry-After", b"7"), (b"X-Rate-Limit-Problem", b"minute"))), OK)
async def test_a_429_is_waited_out_and_never_seen_by_the_caller(stage: Stage) -> None:
    call = await stage.ask()
    assert (call.answer.status, call.answer.attempts) == (200, 2)
    assert stage.xero.times[1] - stage.xero.times[0] >= 7.4


@staged(seconds=1.0)
async def test_a_caller_that_leaves_with_a_write_in_flight_has_it_finished_and_accounted_for(
    stage: Stage,
) -> None:
    call = stage.call("PUT")
    stage.clock.call_at(stage.clock.now() + 0.5, call.leave)
    await stage.proxy.handle(call)
    assert (call.answers, len(stage.xero.sent)) == ([], 1)
    assert stage.proxy.count("attempts", **{"class": "success"}) == 1
    assert stage.proxy.count("requests", **{"class": "caller_left"}) == 1
    assert stage.proxy.count("client_disconnects", stage="upstream") == 1


@staged(RESET, OK)
async def test_a_caller_that_left_in_flight_is_no_reason_to_send_again(stage: Stage) -> None:
    call = stage.call("PUT")
    stage.clock.call_at(stage.clock.now() + 0.05, call.leave)
    await stage.proxy.handle(call)
    assert len(stage.xero.sent) == 1


@staged(REFUSED, OK, setup=SLOW)
async def test_a_caller_that_leaves_between_two_attempts_ends_there(stage: Stage) -> None:
    call = stage.call()
    stage.clock.call_at(stage.clock.now() + 0.11, call.leave)
    began = stage.clock.now()
    await stage.proxy.handle(call)
    assert stage.clock.now() - began < 0.2
    assert (call.answers, len(stage.xero.sent)) == ([], 1)


@staged(setup=Setup(caps=Caps(minute=1)))
async def test_a_caller_that_leaves_in_line_sends_and_spends_nothing(stage: Stage) -> None:
    await stage.ask()
    call = stage.call()
    stage.clock.call_at(stage.clock.now() + 5.0, call.leave)
    began = stage.clock.now()
    await stage.proxy.handle(call)
    assert stage.clock.now() - began == pytest.approx(5.0)
    assert (call.answers, len(stage.xero.sent)) == ([], 1)
    assert stage.proxy.count("client_disconnects", stage="queue") == 1


@staged()
async def test_a_caller_that_has_left_before_anything_was_sent_sends_and_spends_nothing(stage: Stage) -> None:
    for target in (b"/api.xro/2.0/Contacts", b"/connect/token"):
        call = stage.call()
        call.target = target
        call.leave()
        await stage.proxy.handle(call)
        assert (call.answers, stage.xero.sent) == ([], [])
    assert stage.proxy.count("client_disconnects", stage="queue") == 2


@staged()
async def test_a_caller_that_leaves_in_its_upload_sends_nothing(stage: Stage) -> None:
    call = stage.call("PUT", upload=5.0)
    stage.clock.call_at(stage.clock.now() + 1.0, call.leave)
    await stage.proxy.handle(call)
    assert (call.answers, stage.xero.sent) == ([], [])
    assert stage.proxy.count("client_disconnects", stage="body") == 1


@staged(setup=Setup(waiting=Waiting(per_tenant=2), caps=Caps(minute=1)))
async def test_a_full_line_is_refused_at_once_with_the_time_until_there_is_room(stage: Stage) -> None:
    patient = (b"Prefer", b"wait=600")
    await stage.ask()
    waiting = [asyncio.ensure_future(stage.ask("GET", patient)) for _ in range(2)]
    await stage.passes(1.0)
    began = stage.clock.now()
    call = await stage.ask("GET", patient)
    assert stage.clock.now() == began
    assert (call.answer.status, call.answer.class_, call.answer.attempts) == (429, b"queue_full", 0)
    assert 178 <= int(call.answer.field(b"retry-after") or b"0") <= 181
    assert stage.proxy.count("shed", reason="queue_full") == 1
    assert [each.answer.status for each in await asyncio.gather(*waiting)] == [200, 200]


def breaks(_clock: Clock) -> Response | Failure:
    raise ZeroDivisionError


@staged(breaks)
async def test_a_bug_in_an_attempt_leaks_no_permit_and_is_answered_and_recorded_like_all_else(
    stage: Stage,
) -> None:
    for _ in range(7):
        call = stage.call("PUT")
        with pytest.raises(ZeroDivisionError):
            await stage.proxy.handle(call)
        assert (call.answer.status, call.answer.class_, call.answer.attempts) == (500, b"internal", 1)
    assert stage.proxy.count("requests", status="500", api="accounting") == 7


@staged(seconds=9.0)
async def test_a_request_cut_at_shutdown_leaks_no_permit(stage: Stage) -> None:
    task = asyncio.ensure_future(stage.ask("PUT"))
    await stage.passes(1.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


@staged()
async def test_the_slot_of_a_streamed_answer_is_free_when_xero_has_delivered(stage: Stage) -> None:
    head, inflow = streamed(stage.clock, b"begun")
    stage.xero._steps = [lambda _clock: head]
    asking = asyncio.ensure_future(stage.ask())
    await stage.passes(1.0)
    assert stage.proxy.scheduler.snapshot().tenants[0].in_flight == 1
    inflow.put(b" and ended")
    inflow.end()
    await stage.passes(0.0)
    assert stage.proxy.scheduler.snapshot().tenants[0].in_flight == 0
    assert (await asking).answer.body == b"begun and ended"


@staged(RESET, answers(503, body=MAINTENANCE), OK)
async def test_once_a_write_may_have_been_executed_its_key_stays_through_rejections(stage: Stage) -> None:
    call = await stage.ask("PUT")
    assert call.answer.status == 200
    assert len(stage.xero.keys()) == 3
    assert len(set(stage.xero.keys())) == 1


@staged(REFUSED, OK, setup=SLOW)
async def test_a_caller_that_leaves_between_two_attempts_at_the_identity_host_ends_there(
    stage: Stage,
) -> None:
    call = stage.call("POST")
    call.target = b"/connect/token"
    stage.clock.call_at(stage.clock.now() + 0.11, call.leave)
    await stage.proxy.handle(call)
    assert (call.answers, len(stage.xero.sent)) == ([], 1)


@staged(RESET, OK)
async def test_the_identity_host_is_never_asked_twice_once_it_was_sent_something(stage: Stage) -> None:
    for method, status in (("POST", 502), ("GET", 200)):
        call = stage.call(method)
        call.target = b"/connect/token"
        await stage.proxy.handle(call)
        assert (call.answer.status, call.answer.attempts) == (status, 1)
    assert stage.xero.keys() == [b"", b""]
