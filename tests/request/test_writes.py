"""No write is executed twice: what is sent, and when, as the clocks and the processes before may have it."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from proxy.clock import Clock
from proxy.core.answers.idempotency import KEY_LIFE_SECONDS, UNSEEN_SECONDS, Keys
from proxy.core.answers.retry import Backoff
from proxy.core.model import Failure
from proxy.http.response import Response
from proxy.http.upstream import Outbound
from tests.inprocess import FakeCall, Setup
from tests.stage import BAD_GATEWAY, OFFLINE, OK, RESET, Stage, Step, answers, staged

KEY = (b"Idempotency-Key", b"mine")
PATIENT = (b"Prefer", b"wait=3600")
SLOWLY = Setup(backoff=Backoff(first=20.0))
"""The first repetition is planned for some seconds later."""


def trusting_nothing_before(stage: Stage, since: float) -> None:
    stage.proxy.pipeline._attempts._keys = Keys(since)


def is_unknown(call: FakeCall, attempts: int) -> None:
    assert (call.answer.status, call.answer.class_) == (502, b"outcome_unknown")
    assert call.answer.attempts == attempts
    assert call.answer.field(b"retry-after") is None


# ---- The last moment


@pytest.mark.parametrize("own", [True, False])
def test_a_key_that_grew_old_while_the_process_stood_still_is_not_sent_again(own: bool) -> None:
    @staged(RESET, OK, setup=SLOWLY)
    async def test(stage: Stage) -> None:
        asking = asyncio.ensure_future(stage.ask("PUT", *(() if own else (KEY,)), PATIENT))
        await stage.passes(0.2)  # the reply is lost, the repetition planned
        now = stage.clock.now
        stage.clock.now = lambda: now() + 370.0  # SIGSTOP, SIGCONT: the timer is late
        is_unknown(await asking, 1)

    test()


@staged(RESET, OK, setup=SLOWLY)
async def test_a_pause_of_a_virtual_machine_is_seen_by_its_wall_clock(stage: Stage) -> None:
    asking = asyncio.ensure_future(stage.ask("PUT", PATIENT))
    await stage.passes(0.2)
    wall = stage.clock.wall
    stage.clock.wall = lambda: wall() + 370.0  # type: ignore[method-assign]  # the machine was paused
    is_unknown(await asking, 1)


@staged(RESET, OK)
async def test_a_connection_that_takes_its_time_cannot_outlive_the_key(stage: Stage) -> None:
    send = stage.xero.send

    async def connect_slowly(outbound: Outbound) -> Response | Failure:
        if stage.xero.sent:
            await stage.passes(KEY_LIFE_SECONDS)
        return await send(outbound)

    stage.xero.send = connect_slowly  # type: ignore[method-assign]  # a slow network
    is_unknown(await stage.ask("PUT", PATIENT), 1)
    assert len(stage.xero.sent) == 1


# ---- A caller's own key


@staged(OK, answers(503, body=OFFLINE), OK)
async def test_a_key_that_was_used_before_is_not_first_sent_when_xero_may_have_forgotten_it(
    stage: Stage,
) -> None:
    assert (await stage.ask("PUT", KEY)).answer.status == 200
    await stage.passes(70.0)
    held = asyncio.ensure_future(stage.ask("GET", PATIENT))  # holds the organisation for 300 s
    await stage.passes(170.0)
    is_unknown(await stage.ask("PUT", KEY, (b"Prefer", b"wait=200")), 0)
    await held
    assert [outbound.method for outbound in stage.xero.sent] == ["PUT", "GET", "GET"]


@staged()
async def test_an_old_key_is_not_sent_until_it_has_rested_for_long_enough_to_be_new(stage: Stage) -> None:
    await stage.ask("PUT", KEY)
    await stage.passes(KEY_LIFE_SECONDS - 1.0)
    assert (await stage.ask("PUT", KEY)).answer.status == 200
    await stage.passes(2.0)
    is_unknown(await stage.ask("PUT", KEY), 0)
    await stage.passes(2 * KEY_LIFE_SECONDS)
    assert (await stage.ask("PUT", KEY)).answer.status == 200


@staged(answers(503, body=OFFLINE), OK)
async def test_a_key_under_which_nothing_was_executed_is_as_good_as_new(stage: Stage) -> None:
    first = await stage.ask("PUT", KEY)
    assert (first.answer.status, first.answer.field(b"retry-after")) == (503, b"300")
    await stage.passes(310.0)
    assert (await stage.ask("PUT", KEY)).answer.status == 200


@staged(RESET, OK)
async def test_a_key_that_may_be_older_than_the_process_is_not_repeated(stage: Stage) -> None:
    trusting_nothing_before(stage, stage.clock.now())
    await stage.passes(UNSEEN_SECONDS - 1.0)
    is_unknown(await stage.ask("PUT", KEY), 1)


@staged(RESET, OK)
async def test_a_wall_clock_that_is_put_forward_makes_no_process_older(stage: Stage) -> None:
    trusting_nothing_before(stage, stage.clock.now())
    stage.clock.elapsed()
    wall = stage.clock.wall
    stage.clock.wall = lambda: wall() + 1000.0  # type: ignore[method-assign]  # as NTP may do
    is_unknown(await stage.ask("PUT", KEY), 1)


@staged(RESET, OK)
async def test_once_the_process_is_older_than_any_key_it_is(stage: Stage) -> None:
    trusting_nothing_before(stage, stage.clock.now())
    await stage.passes(UNSEEN_SECONDS)
    assert (await stage.ask("PUT", KEY)).answer.attempts == 2


@staged(RESET, OK)
async def test_the_proxys_own_key_is_repeated_from_the_start_and_on_every_replica(stage: Stage) -> None:
    trusting_nothing_before(stage, inf)
    assert (await stage.ask("PUT")).answer.attempts == 2


@staged(RESET, OK)
async def test_a_replica_repeats_nothing_under_a_key_that_another_may_have_used(stage: Stage) -> None:
    trusting_nothing_before(stage, inf)
    await stage.passes(10_000.0)
    is_unknown(await stage.ask("PUT", KEY), 1)


# ---- Where keys mean nothing


@pytest.mark.parametrize(
    "target",
    [
        b"/practicemanager/3.0/x",
        b"/practicemanager/3.1/x",
        b"/new.xro/1.0/x",
        b"/",
        b"/api.xro/2.0/../../practicemanager/3.0/x",
        b"/api.xro/2.0/%2E%2e/.%2e/practicemanager/3.0/x",
        b"/api.xro/2.0/..%2f..%2fpracticemanager/3.0/x",
    ],
)
@pytest.mark.parametrize("headers", [(), (KEY,)], ids=["without", "with"])
@pytest.mark.parametrize("fault", [RESET, BAD_GATEWAY], ids=["reset", "502"])
def test_a_write_to_an_api_that_documents_no_keys_is_sent_once(
    target: bytes, headers: tuple[tuple[bytes, bytes], ...], fault: Step
) -> None:
    @staged(fault, OK)
    async def test(stage: Stage) -> None:
        call = stage.call("POST", *headers)
        call.target = target
        await stage.proxy.handle(call)
        assert call.answer.status == 502
        assert stage.xero.keys() == [b"mine" if headers else b""]

    test()


@pytest.mark.parametrize("name", [b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"])
@pytest.mark.parametrize(("method", "override"), [("GET", b"PUT"), ("DELETE", b"POST"), ("POST", b"MERGE")])
def test_a_request_that_may_count_as_a_write_is_sent_once(method: str, override: bytes, name: bytes) -> None:
    @staged(RESET, OK)
    async def test(stage: Stage) -> None:
        headers = ((name, override), KEY) if method != "POST" else ((name, override),)
        call = await stage.ask(method, *headers)
        if method == "POST":
            assert call.answer.attempts == 2, "a POST is the less safe already, and has a key"
        else:
            is_unknown(call, 1)

    test()


def test_time_on_the_scale_of_keys_is_the_most_that_either_clock_says() -> None:
    loop = asyncio.new_event_loop()
    clock, now, wall = Clock(loop), [100.0], [1e9]
    loop.close()
    clock.now, clock.wall = lambda: now[0], lambda: wall[0]  # type: ignore[method-assign]  # by hand
    began = clock.elapsed()
    for by_now, by_wall, passed in [(5.0, 5.0, 5.0), (1.0, 9.0, 9.0), (9.0, 1.0, 9.0), (2.0, -1e6, 2.0)]:
        now[0] += by_now
        wall[0] += by_wall
        assert clock.elapsed() - began == pytest.approx(passed)
        began = clock.elapsed()
