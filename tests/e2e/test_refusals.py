"""429s as SDKs read them, Xero's own and ours, and a day that is spent, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.harness import Reply, both, request, sidecar
from tests.sockets import origin

pytestmark = pytest.mark.looptime
TOKEN = "t" * 32
CLEAR = {"scope": "tenant", "app": "default", "tenant": "t1"}


def answer(status: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 " + status, *fields, length, b"", body))


def left(day: int, minute: int = 59) -> tuple[bytes, ...]:
    return (
        b"X-DayLimit-Remaining: %d" % day,
        b"X-MinLimit-Remaining: %d" % minute,
        b"X-AppMinLimit-Remaining: 9990",
    )


SPENT = answer(
    b"429 Too Many Requests",
    b"Date: Sun, 06 Nov 1994 08:49:37 GMT",
    *left(0, 60),
    b"X-Rate-Limit-Problem: day",
    b"Retry-After: 33519",
    b"Xero-Correlation-Id: 7b1c",
)


def java(reply: Reply) -> str:
    """The exception that Xero-Java throws for a 429."""
    for name, field in (("day", b"x-daylimit-remaining"), ("minute", b"x-minlimit-remaining")):
        if reply.field(field) == b"0":
            return name
    return "other"


def in_turn(*replies: bytes) -> Callable[[bytes], bytes]:
    """One after the other, the last one for ever."""
    rest = list(replies)
    return lambda _request: rest.pop(0) if len(rest) > 1 else rest[0]


async def test_xeros_own_day_429_is_passed_on_with_all_its_fields_but_the_time() -> None:
    async with origin(SPENT) as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(request())
        later = await proxy.ask(request())
    assert (reply.status, reply.class_, reply.attempts, java(reply)) == (429, "limit_day", 1, "day")
    for line in SPENT.split(b"\r\n")[1:-3]:
        name, _, value = line.partition(b": ")
        assert reply.field(name.lower()) == (None if name == b"Retry-After" else value)
    assert len([name for name, _ in reply.headers if name.lower() == b"date"]) == 1
    assert "could be sent in 33519 s, at 20" in reply.problem["detail"]
    assert (later.status, later.class_, later.attempts, java(later)) == (429, "refused_day", 0, "day")
    assert later.field(b"x-minlimit-remaining") == b"59"
    assert later.field(b"x-appminlimit-remaining") is not None
    assert len(seen.requests) == 1


async def test_a_short_wait_that_comes_too_late_is_xeros_own_word() -> None:
    fields = b"X-Rate-Limit-Problem: minute", b"Retry-After: 22", *left(4000, 0)
    async with origin(answer(b"429 Too Many", *fields)) as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(request(b"GET /", b"Prefer: wait=5"))
    assert (reply.status, reply.wait, reply.body, java(reply)) == (429, 22, b"", "minute")
    assert len(seen.requests) == 1


async def test_a_time_that_was_waited_for_is_counted_anew() -> None:
    fields = b"X-Rate-Limit-Problem: concurrent", b"Retry-After: 9"
    async with origin(answer(b"429 Too Many", *fields)) as seen, sidecar(str(seen.address)) as proxy:
        reply = await proxy.ask(request(b"GET /", b"Prefer: wait=1"))
        assert reply.status == 429
        assert reply.wait is not None
        assert reply.wait <= 9
    assert seen.requests


async def test_a_503_of_xeros_with_a_long_time_keeps_its_fields_and_says_when() -> None:
    raw = answer(
        b"503 Service Unavailable", b"Retry-After: 3600", b"Xero-Correlation-Id: 7b1c", body=b"<html>"
    )
    async with origin(raw) as seen, sidecar(str(seen.address), retry_attempts=1) as proxy:
        reply = await proxy.ask(request())
    assert (reply.status, reply.wait, reply.field(b"xero-correlation-id")) == (503, None, b"7b1c")
    assert "could be sent again in 3600 s, at 20" in reply.problem["detail"]
    assert b"=" not in reply.body
    assert len(seen.requests) == 1


@pytest.mark.parametrize(
    ("settings", "problem", "wanted"),
    [
        ({"tenant_minute_limit": 2}, b"minute", (b"0", b"98", b"9998")),
        ({"tenant_day_limit": 2}, b"day", (b"58", b"0", b"9998")),
        ({"app_minute_limit": 2}, b"appminute", (b"58", b"98", b"0")),
        ({"tenant_minute_limit": 2, "tenant_day_limit": 2}, b"day", (None, b"0", b"9998")),
    ],
)
async def test_ours_say_0_for_the_limit_that_refuses_and_for_no_other(
    settings: dict[str, int], problem: bytes, wanted: tuple[bytes | None, ...]
) -> None:
    all_settings = {"tenant_day_limit": 100, **settings}
    async with both({"day_limit": 100}, **all_settings) as (proxy, simulator):
        for _ in range(2):
            assert (await proxy.ask(request())).status == 200
        reply = await proxy.ask(request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=0"))
        assert (reply.status, reply.attempts) == (429, 0)
        assert reply.field(b"x-rate-limit-problem") == problem
        names = b"x-minlimit-remaining", b"x-daylimit-remaining", b"x-appminlimit-remaining"
        assert tuple(map(reply.field, names)) == wanted
        assert java(reply) == (problem.decode() if problem != b"appminute" else "other")
        assert simulator.refused == {}


async def test_nobody_is_told_a_time_for_a_day_whose_end_nobody_knows() -> None:
    async with origin(answer(b"200 OK", *left(0))) as seen, sidecar(str(seen.address)) as proxy:
        assert (await proxy.ask(request())).status == 200
        reply = await proxy.ask(request(b"GET /", b"Prefer: wait=0"))
        assert (reply.class_, reply.wait, java(reply)) == ("refused_day", None, "day")
        detail = reply.problem["detail"]
        assert "nobody knows" in detail
        assert " at 20" not in detail
        assert " s, " not in detail
        await proxy.passes(901.0)
        assert (await proxy.ask(request())).status == 200, "now and then one asks"
        assert (await proxy.ask(request())).class_ == "refused_day"
    assert len(seen.requests) == 2


async def test_the_limit_that_xero_shows_is_the_limit_that_people_see() -> None:
    day = [answer(b"200 OK", *left(999)), answer(b"200 OK", *left(0))]
    async with origin(in_turn(*day)) as seen, sidecar(str(seen.address)) as proxy:
        for _ in range(2):
            assert (await proxy.ask(request())).status == 200
        reply = await proxy.ask(request())
        assert "0 of 1,000 are left" in reply.problem["detail"]
        (tenant,) = (await proxy.status())["tenants"]
        assert (tenant["day_remaining"], tenant["day_limit"]) == (0, 1000)
    assert seen.requests


@pytest.mark.parametrize("spent", [SPENT, answer(b"200 OK", *left(0))])
async def test_after_a_clear_the_next_call_is_sent_whatever_was_believed(spent: bytes) -> None:
    async with (
        origin(in_turn(spent, answer(b"200 OK", *left(400)))) as seen,
        sidecar(str(seen.address), admin_token=TOKEN) as proxy,
    ):
        await proxy.ask(request())
        assert (await proxy.ask(request())).class_ == "refused_day"
        assert await proxy.post("/holds/clear", CLEAR, TOKEN) == 200
        assert (await proxy.ask(request())).status == 200
        assert (await proxy.ask(request())).status == 200
    assert len(seen.requests) == 3


async def test_who_waits_for_a_day_goes_when_it_is_cleared() -> None:
    async with (
        origin(in_turn(answer(b"200 OK", *left(0)), answer(b"200 OK", *left(400)))) as seen,
        sidecar(str(seen.address), admin_token=TOKEN) as proxy,
    ):
        await proxy.ask(request())
        waiting = proxy.start(request(b"GET /", b"Prefer: wait=3600"))
        await proxy.passes(10.0)
        assert not waiting.done()
        assert await proxy.post("/holds/clear", CLEAR, TOKEN) == 200
        began = proxy.clock.now()
        assert (await waiting).status == 200
        assert proxy.clock.now() - began < 1.0
    assert len(seen.requests) == 2
