"""What the caller gets: Xero's own answer, or one of the proxy's where that would mislead or hurt."""

from __future__ import annotations

import pytest

from proxy.core.wire.framing import BadFraming
from proxy.http.body import Stalled
from proxy.request.pipeline import Policy
from tests.inprocess import FakeCall, Setup
from tests.stage import EXPIRED, OFFLINE, OK, ONCE, RESET, TIMEOUT, Stage, answers, staged


@staged(RESET, answers(503, body=OFFLINE), OK)
async def test_a_hold_that_outlives_the_key_ends_a_write_that_may_have_been_executed(stage: Stage) -> None:
    call = await stage.ask("PUT", (b"Prefer", b"wait=600"))
    assert len(stage.xero.sent) == 2
    assert (call.answer.status, call.answer.class_) == (502, b"outcome_unknown")
    assert call.answer.field(b"retry-after") is None


@staged(RESET, setup=Setup(policy=Policy(idempotency=False)))
async def test_an_unkeyed_write_is_not_repeated_once_it_was_sent(stage: Stage) -> None:
    call = await stage.ask("POST")
    assert stage.xero.keys() == [b""]
    assert (call.answer.status, call.answer.class_) == (502, b"outcome_unknown")
    assert call.answer.field(b"retry-after") is None
    assert stage.proxy.count("retries_suppressed", reason="unsafe") == 1


@staged(TIMEOUT, setup=ONCE)
async def test_a_timeout_is_a_504_and_says_so_of_a_write_too(stage: Stage) -> None:
    read, write = await stage.ask(), await stage.ask("PUT")
    assert (read.answer.status, read.answer.class_) == (504, b"upstream_timeout")
    assert (write.answer.status, write.answer.class_) == (504, b"outcome_unknown")
    assert write.answer.field(b"retry-after") is None


@staged(answers(500, ((b"Retry-After", b"5"),)))
async def test_a_500_is_not_repeated_under_its_key_and_carries_no_time(stage: Stage) -> None:
    call = await stage.ask("POST")
    assert (call.answer.status, call.answer.class_, len(stage.xero.sent)) == (500, b"internal_error", 1)
    assert call.answer.field(b"retry-after") is None


@staged(RESET, EXPIRED)
async def test_a_401_says_nothing_about_a_write_that_may_have_been_executed_before(stage: Stage) -> None:
    """The caller would fetch a token and send the write again: twice executed."""
    call = await stage.ask("PUT")
    assert len(stage.xero.sent) == 2
    assert (call.answer.status, call.answer.class_) == (502, b"outcome_unknown")


@staged(RESET, EXPIRED)
async def test_a_401_after_a_lost_answer_to_a_read_is_passed_on(stage: Stage) -> None:
    assert (await stage.ask()).answer.class_ == b"token_expired"


@staged(RESET, answers(400, body=b'{"Type":"ValidationException"}'))
async def test_what_xero_says_under_the_same_key_is_the_outcome(stage: Stage) -> None:
    assert (await stage.ask("PUT")).answer.class_ == b"validation"


@staged(answers(429, ((b"Retry-After", b"33519"), (b"X-Rate-Limit-Problem", b"day"))))
async def test_a_time_over_the_maximum_is_not_sent_but_told(stage: Stage) -> None:
    first, later = await stage.ask(), await stage.ask()
    for call, seconds in ((first, 33519), (later, 33520)):
        assert (call.answer.status, call.answer.field(b"x-rate-limit-problem")) == (429, b"day")
        assert call.answer.field(b"retry-after") is None
        assert b"could be sent in %d s, at " % seconds in call.answer.body
    assert (first.answer.attempts, later.answer.attempts, len(stage.xero.sent)) == (1, 0, 1)


@staged(answers(429, ((b"Retry-After", b"400"), (b"X-Rate-Limit-Problem", b"minute"))), setup=ONCE)
async def test_xeros_own_429_with_such_a_time_is_told_in_our_words(stage: Stage) -> None:
    call = await stage.ask()
    assert (call.answer.status, call.answer.class_) == (429, b"limit_minute")
    assert call.answer.field(b"x-rate-limit-problem") == b"minute"
    assert call.answer.field(b"retry-after") is None
    assert b"could be sent in 400 s" in call.answer.body


@staged(answers(404, ((b"Retry-After", b"soon"), (b"retry-after", b"-1"))))
async def test_a_retry_after_that_is_no_time_is_not_passed_on(stage: Stage) -> None:
    assert (await stage.ask()).answer.field(b"retry-after") is None


@staged(RESET, answers(503, ((b"Retry-After", b"5"),), b"<html>"), setup=Setup().attempts(2))
async def test_a_503_about_a_write_that_may_have_been_executed_is_no_leave_to_repeat_it(stage: Stage) -> None:
    call = await stage.ask("PUT")
    assert (call.answer.status, call.answer.class_) == (502, b"outcome_unknown")
    assert call.answer.field(b"retry-after") is None


@staged(answers(503, ((b"Retry-After", b"5"),), b"<html>"), setup=ONCE)
async def test_the_same_about_a_read_keeps_its_time(stage: Stage) -> None:
    assert (await stage.ask()).answer.field(b"retry-after") == b"5"


@staged(answers(200, ((b"Proxy-Status", b"x"), (b"X-Xero-Proxy-Class", b"x"), (b"Server-Timing", b"db"))))
async def test_marks_from_upstream_are_replaced_and_its_timing_kept(stage: Stage) -> None:
    answer = (await stage.ask()).answer
    values = [value for name, value in answer.headers if name.lower().startswith((b"x-xero", b"proxy-"))]
    assert b"x" not in values
    timings = [value for name, value in answer.headers if name == b"Server-Timing"]
    assert (timings[0], len(timings)) == (b"db", 2)


@staged(answers(429, ((b"X-Rate-Limit-Problem", b"concurrent"),)), OK)
async def test_a_concurrent_429_is_a_short_pause_and_no_answer(stage: Stage) -> None:
    call = await stage.ask()
    assert (call.answer.status, call.answer.attempts) == (200, 2)
    assert 0.2 <= stage.xero.times[1] - stage.xero.times[0] <= 0.5


@staged(answers(429))
async def test_a_429_without_a_word_ends_with_xeros_own_answer(stage: Stage) -> None:
    call = await stage.ask()
    assert (call.answer.status, call.answer.class_, call.answer.attempts) == (429, b"limit_unnamed", 4)
    assert call.answer.field(b"retry-after") is None


@pytest.mark.parametrize(
    ("error", "status", "name", "wait"),
    [
        (OSError("disk full"), 503, b"spool_full", b"1"),
        (Stalled(), 408, b"body_timeout", None),
        (BadFraming("c4n4ry"), 400, b"invalid_request", None),
    ],
)
def test_a_body_that_cannot_be_kept_is_refused_and_nothing_sent(
    error: Exception, status: int, name: bytes, wait: bytes | None
) -> None:
    class Broken(FakeCall):
        async def read(self) -> bytes:
            raise error

    @staged()
    async def test(stage: Stage) -> None:
        call = await stage.proxy.handle(Broken(stage.clock, "PUT", body=b"{}"))
        assert (call.answer.status, call.answer.class_, call.answer.attempts) == (status, name, 0)
        assert call.answer.field(b"retry-after") == wait
        assert b"c4n4ry" not in call.answer.body
        assert stage.xero.sent == []

    test()


PROVES_NOTHING = [
    *(
        301,
        302,
        304,
        401,
        402,
        403,
        404,
        405,
        406,
        407,
        408,
        409,
        410,
        411,
        412,
        413,
        414,
        415,
        416,
        417,
        418,
    ),
    *(421, 423, 424, 425, 426, 428, 431, 451, 499, 500, 501, 502, 504, 505, 511, 599),
]


@pytest.mark.parametrize("status", PROVES_NOTHING)
def test_after_a_lost_answer_to_a_write_only_what_proves_its_outcome_is_passed_on(status: int) -> None:
    @staged(RESET, answers(status, ((b"Retry-After", b"5"),)), setup=Setup().attempts(2))
    async def test(stage: Stage) -> None:
        write = await stage.ask("PUT")
        assert len(stage.xero.sent) == 2
        expected = 504 if status == 504 else 502
        assert (write.answer.status, write.answer.class_) == (expected, b"outcome_unknown")
        assert write.answer.field(b"retry-after") is None
        read = await stage.ask("DELETE")
        assert read.answer.status == status

    test()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((200, b"ok"), (201, b""), (204, b""), (400, b'{"Message":"bad"}'), (422, b"{}")),
        (400, b'{"Type":"PostDataInvalidException"}'),
    ],
)
def test_what_xero_says_after_it_has_looked_at_the_key_proves_the_outcome(status: int, body: bytes) -> None:
    @staged(RESET, answers(status, body=body))
    async def test(stage: Stage) -> None:
        assert (await stage.ask("PUT")).answer.status == status
        assert len(stage.xero.sent) == 2

    test()


@staged(RESET, answers(400, body=b"<html><title>400 Bad Request</title></html>"))
async def test_a_page_of_xeros_edge_proves_nothing(stage: Stage) -> None:
    assert (await stage.ask("PUT")).answer.class_ == b"outcome_unknown"


@staged(RESET, answers(400, body=b"Idempotency Key: K is used with a different request."))
async def test_that_the_key_is_used_says_nothing_of_what_came_of_the_first_attempt(stage: Stage) -> None:
    assert (await stage.ask("PUT")).answer.class_ == b"outcome_unknown"


@staged(answers(504), RESET, OK)
async def test_a_first_answer_that_says_that_nobody_knows_is_xeros_own(stage: Stage) -> None:
    call = await stage.ask("POST", (b"Idempotency-Key", b"k" * 129))
    assert (call.answer.status, call.answer.class_) == (504, b"gateway_timeout")
