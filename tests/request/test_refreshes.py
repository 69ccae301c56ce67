"""Refreshes of tokens through the pipeline, in virtual time: who calls, who shares, and what is kept."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import Counter
from gzip import compress

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.wire.fields import Fields
from proxy.http.response import Response
from proxy.request.refreshes import KEPT_BYTES, KEPT_MAX, KEPT_SECONDS, REFUSED_SECONDS
from tests.fakes import run_virtual
from tests.inprocess import FakeCall, Setup, streamed
from tests.stage import REFUSED, RESET, TIMEOUT, Stage, answers, staged

TOKENS = answers(200, ((b"Content-Type", b"application/json"),), b'{"access_token":"new"}')
INVALID_GRANT = answers(400, body=b'{"error":"invalid_grant"}')
INVALID_CLIENT = answers(400, body=b'{"error":"invalid_client"}')
OFF = Setup(single_flight=False)


def refresh(stage: Stage, which: str = "old", *headers: tuple[bytes, bytes], client: str = "app") -> FakeCall:
    return FakeCall(
        stage.clock,
        "POST",
        b"/connect/token",
        (
            (b"Content-Type", b"application/x-www-form-urlencoded"),
            (b"Authorization", b"Basic " + b64encode(f"{client}:s3cret".encode())),
            *headers,
        ),
        f"grant_type=refresh_token&refresh_token={which}".encode(),
    )


async def ask(stage: Stage, which: str = "old", *headers: tuple[bytes, bytes]) -> FakeCall:
    return await stage.proxy.handle(refresh(stage, which, *headers))


def start(stage: Stage, call: FakeCall) -> asyncio.Task[FakeCall]:
    return asyncio.ensure_future(stage.proxy.handle(call))


def lost(stage: Stage) -> list[tuple[str, str, str]]:
    return [(view.app, view.tenant, view.reason) for view in stage.proxy.access.view(stage.clock.now())]


@staged(TOKENS)
async def test_a_thousand_refreshes_of_one_token_are_one_call(stage: Stage) -> None:
    calls = await asyncio.gather(*(ask(stage) for _ in range(1000)))
    assert len(stage.xero.sent) == 1
    assert {(call.answer.status, call.answer.body) for call in calls} == {(200, b'{"access_token":"new"}')}
    assert Counter(call.answer.attempts for call in calls) == {1: 1, 0: 999}
    assert {call.answer.class_ for call in calls} == {b"success"}
    assert stage.proxy.count("token_answers", source="shared") == 999


@staged(TOKENS)
async def test_different_tokens_and_clients_are_different_calls(stage: Stage) -> None:
    calls = [refresh(stage), refresh(stage, "other"), refresh(stage, client="other")]
    await asyncio.gather(*map(stage.proxy.handle, calls))
    assert len(stage.xero.sent) == 3


@staged(TOKENS)
async def test_who_asks_again_gets_what_was_answered_for_two_minutes(stage: Stage) -> None:
    first = await ask(stage)
    await stage.passes(KEPT_SECONDS - 0.5)
    again = await ask(stage)
    assert (again.answer.status, again.answer.body, again.answer.attempts) == (200, first.answer.body, 0)
    assert (first.answer.field(b"age"), again.answer.field(b"age")) == (None, b"119")
    assert stage.proxy.count("token_answers", source="kept") == 1
    await stage.passes(1.0)
    assert len(stage.proxy.refreshes._kept) == 0, "it is dropped, not only passed over"
    assert (await ask(stage)).answer.attempts == 1


@staged(INVALID_GRANT)
async def test_a_refused_token_is_kept_for_seconds_alone(stage: Stage) -> None:
    assert (await ask(stage)).answer.class_ == b"invalid_grant"
    again = await ask(stage)
    assert (again.answer.status, again.answer.attempts) == (400, 0)
    assert again.answer.body == b'{"error":"invalid_grant"}'
    await stage.passes(REFUSED_SECONDS)
    assert (await ask(stage)).answer.attempts == 1


@staged(INVALID_CLIENT, answers(500), answers(503), answers(429, ((b"Retry-After", b"7"),)), TOKENS)
async def test_what_may_be_different_a_moment_later_is_shared_and_not_kept(stage: Stage) -> None:
    for status in (400, 500, 503, 429):
        calls = await asyncio.gather(*(ask(stage) for _ in range(3)))
        assert len({(call.answer.status, call.answer.headers[:-4]) for call in calls}) == 1
        assert (calls[0].answer.status == status) or calls[0].answer.class_ == b"outcome_unknown"
    assert len(stage.xero.sent) == 4
    assert (await ask(stage)).answer.status == 200


@staged(RESET, TIMEOUT, TOKENS)
async def test_an_unknown_outcome_is_told_to_all_and_the_next_may_try(stage: Stage) -> None:
    for status in (502, 504):
        calls = await asyncio.gather(*(ask(stage) for _ in range(5)))
        assert {(call.answer.status, call.answer.class_) for call in calls} == {(status, b"outcome_unknown")}
        assert all(call.answer.field(b"retry-after") is None for call in calls)
    assert len(stage.xero.sent) == 2, "nothing that was sent is sent again by itself"
    assert (await ask(stage)).answer.status == 200


@staged(REFUSED, REFUSED, TOKENS)
async def test_what_was_never_sent_is_sent_again_for_all(stage: Stage) -> None:
    calls = await asyncio.gather(*(ask(stage) for _ in range(5)))
    assert {call.answer.status for call in calls} == {200}
    assert len(stage.xero.sent) == 3


@staged(TOKENS)
async def test_a_call_is_finished_for_whoever_asks_again_though_its_caller_left(stage: Stage) -> None:
    impatient = refresh(stage)
    handled = start(stage, impatient)
    await stage.passes(0.05)
    impatient.leave()
    await handled
    assert impatient.answers == []
    again = await ask(stage)
    assert (again.answer.status, again.answer.attempts) == (200, 0)
    assert len(stage.xero.sent) == 1


@staged(TOKENS)
async def test_the_others_get_the_answer_when_the_one_that_asked_first_has_left(stage: Stage) -> None:
    first, second, third = (refresh(stage) for _ in range(3))
    handled = [start(stage, call) for call in (first, second, third)]
    await stage.passes(0.05)
    first.leave()
    second.leave()
    await asyncio.gather(*handled)
    assert (first.answers, second.answers, third.answer.status) == ([], [], 200)
    assert len(stage.xero.sent) == 1
    assert stage.proxy.count("client_disconnects", stage="queue") == 1


@staged(REFUSED, TOKENS)
async def test_a_call_that_was_not_sent_yet_goes_on_only_while_somebody_wants_it(stage: Stage) -> None:
    first, second = refresh(stage), refresh(stage)
    handled = [start(stage, call) for call in (first, second)]
    await stage.passes(0.05)
    first.leave()
    await asyncio.gather(*handled)
    assert second.answer.status == 200
    alone = refresh(stage, "other")
    stage.xero._steps = [REFUSED, TOKENS]
    handled = [start(stage, alone)]
    await stage.passes(0.05)
    alone.leave()
    await asyncio.gather(*handled)
    assert len(stage.xero.sent) == 3


@staged(TOKENS, seconds=30.0)
async def test_who_shares_a_call_waits_no_longer_than_it_asked_to(stage: Stage) -> None:
    first = start(stage, refresh(stage))
    await stage.passes(0.0)
    hasty = await ask(stage, "old", (b"Prefer", b"wait=5"))
    assert (hasty.answer.status, hasty.answer.class_) == (503, b"refused_deadline")
    assert hasty.answer.at == stage.xero.times[0] + 5.0
    assert (await first).answer.status == 200
    patient = await ask(stage)
    assert (patient.answer.attempts, len(stage.xero.sent)) == (0, 1)


@staged(TOKENS, setup=OFF)
async def test_switched_off_every_request_is_a_call_of_its_own(stage: Stage) -> None:
    calls = await asyncio.gather(*(ask(stage) for _ in range(5)))
    assert [call.answer.attempts for call in calls] == [1] * 5
    assert len(stage.xero.sent) == 5


@staged(INVALID_GRANT, INVALID_GRANT, INVALID_CLIENT, TOKENS, setup=OFF)
async def test_a_refused_refresh_shows_as_a_lost_connection_until_one_succeeds(stage: Stage) -> None:
    await ask(stage)
    assert lost(stage) == [("app", "", "invalid_grant")]
    await ask(stage)
    await ask(stage)
    assert lost(stage) == [("app", "", "invalid_grant")]
    await ask(stage)
    assert lost(stage) == []


@staged(
    answers(200, body=b'{"access_token":"%b"}' % (b"x" * KEPT_BYTES)),
    answers(202),
    answers(200, body=b"<html>"),
    answers(200, ((b"Content-Encoding", b"gzip"),), compress(b'{"access_token":"new"}')),
)
async def test_an_answer_that_is_no_token_answer_is_not_kept(stage: Stage) -> None:
    for _ in range(4):
        assert (await ask(stage)).answer.attempts == 1
    assert (await ask(stage)).answer.attempts == 0


@staged(answers(401, body=b"<html>"), TOKENS)
async def test_a_client_that_is_refused_has_lost_no_connection(stage: Stage) -> None:
    assert ((await ask(stage)).answer.class_, lost(stage)) == (b"invalid_client", [])
    assert (await ask(stage)).answer.status == 200


@staged(TOKENS)
async def test_an_answer_is_asked_for_that_everybody_can_read(stage: Stage) -> None:
    await ask(stage, "old", (b"Accept-Encoding", b"gzip, br"))
    sent = Fields(stage.xero.sent[0].headers)
    assert sent.every(b"accept-encoding") == [b"identity"]


def test_an_answer_that_is_still_coming_is_not_shared() -> None:
    async def run() -> None:
        stage = Stage(TOKENS)
        body, whole = b"b" * 10, []

        async def send(_outbound: object) -> Response:
            await stage.passes(1.0)
            large, inflow = streamed(stage.clock, body)
            inflow.end()
            whole.append(large)
            return large

        stage.xero.send = send  # type: ignore[method-assign, assignment]  # an upstream with a large answer
        calls = await asyncio.gather(*(ask(stage) for _ in range(3)))
        assert [call.answer.body for call in calls] == [body] * 3
        assert len(whole) == 3

    run_virtual(run())


def test_not_more_than_a_thousand_answers_are_kept() -> None:
    async def run() -> None:
        stage = Stage(TOKENS)
        await asyncio.gather(*(ask(stage, f"token{number}") for number in range(KEPT_MAX + 20)))
        assert len(stage.proxy.refreshes._kept) == KEPT_MAX

    run_virtual(run())


STEPS = {
    "tokens": TOKENS,
    "refused": INVALID_GRANT,
    "reset": RESET,
    "unsent": REFUSED,
    "busy": answers(503, body=b"busy"),
}
acts = st.tuples(
    st.sampled_from(["one", "two"]),  # the token
    st.floats(0.0, 200.0),  # when it is asked for
    st.none() | st.floats(0.0, 3.0),  # how long its caller stays
)


@settings(max_examples=60, deadline=None)
@given(st.lists(acts, min_size=1, max_size=25), st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_there_is_one_call_at_a_time_and_everybody_is_answered_once(
    asked: list[tuple[str, float, float | None]], script: list[str]
) -> None:
    async def run() -> None:
        stage = Stage(*(STEPS[name] for name in script), TOKENS, seconds=1.0)
        under_way: Counter[bytes] = Counter()
        answered: dict[bytes, float] = {}
        plain = stage.xero.send

        async def send(outbound: object) -> object:
            body = bytes(outbound.body.in_memory)  # type: ignore[attr-defined]  # every one has a body
            under_way[body] += 1
            assert under_way[body] == 1
            assert stage.clock.now() >= answered.get(body, 0.0) + KEPT_SECONDS, "it was kept"
            outcome = await plain(outbound)  # type: ignore[arg-type]  # as it came
            if isinstance(outcome, Response) and outcome.status == 200:
                answered[body] = stage.clock.now()
            under_way[body] -= 1
            return outcome

        stage.xero.send = send  # type: ignore[method-assign, assignment]  # watched

        async def one(token: str, at: float, stays: float | None) -> FakeCall:
            await stage.passes(at)
            call = refresh(stage, token)
            handled = start(stage, call)
            if stays is not None:
                await stage.passes(stays)
                call.leave()
            return await handled

        calls = await asyncio.gather(*(one(*act) for act in asked))
        assert all(len(call.answers) == 1 or call.gone for call in calls)
        assert all(len(call.answers) <= 1 for call in calls)
        await stage.passes(KEPT_SECONDS)
        assert len(stage.proxy.refreshes._kept) == 0
        stage.proxy.is_idle()

    run_virtual(run())
