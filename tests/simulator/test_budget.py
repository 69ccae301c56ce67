"""The four limits, as calls meet them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.simulator.calls import Begun
from proxy.simulator.windows import WindowKind
from tests.simulator.calls import REMAINING, ask, call, field, jwt, make


def test_a_normal_answer_tells_what_remains_after_it() -> None:
    answer = ask(make(), call())
    assert answer.status == 200
    assert [field(answer, name) for name in REMAINING] == ["9999", "59", "4999"]
    assert field(answer, b"Xero-Correlation-Id")


def test_the_minute_429_is_empty_and_says_when() -> None:
    xero = make(minute_limit=2)
    ask(xero, call(), 0.0)
    ask(xero, call(), 10.0)
    answer = ask(xero, call(), 38.5)
    assert (answer.status, answer.body) == (429, b"")
    assert dict(answer.headers) | {b"Xero-Correlation-Id": b""} == {
        b"Retry-After": b"22",
        b"X-Rate-Limit-Problem": b"minute",
        b"X-AppMinLimit-Remaining": b"9998",
        b"X-MinLimit-Remaining": b"0",
        b"X-DayLimit-Remaining": b"4998",
        b"Xero-Correlation-Id": b"",
    }
    assert ask(xero, call(), 60.0).status == 200


def test_the_day_429_leaves_the_minute_full() -> None:
    xero = make(day_limit=1)
    ask(xero, call(), 0.0)
    answer = ask(xero, call(), 100.0)
    assert field(answer, b"X-Rate-Limit-Problem") == "day"
    assert field(answer, b"Retry-After") == "86300"
    assert [field(answer, name) for name in REMAINING] == ["10000", "60", "0"]


def test_the_concurrent_429_has_no_retry_after_and_goes_when_a_call_ends() -> None:
    xero = make(concurrent_limit=1, latency=(1.0, 1.0))
    first = xero.arrive(call(), 0.0)
    answer = xero.arrive(call(), 0.5).answer
    assert field(answer, b"X-Rate-Limit-Problem") == "concurrent"
    assert field(answer, b"Retry-After") is None
    assert [field(answer, name) for name in REMAINING] == ["9999", "59", "4999"]
    assert first.done_at == 1.0
    xero.finish(first, 1.0)
    xero.finish(first, 1.0)
    assert xero.in_progress() == 0
    assert xero.arrive(call(), 1.0).answer.status == 200
    assert xero.peak_concurrent("t1") == 2


def test_the_app_429_stops_every_tenant_and_connections() -> None:
    xero = make(app_minute_limit=2)
    ask(xero, call(tenant="t1"))
    ask(xero, call(tenant="t2"))
    for request in (call(tenant="t3"), call(path="/connections", tenant="")):
        answer = ask(xero, request, 1.0)
        assert field(answer, b"X-Rate-Limit-Problem") == "appminute"
        assert field(answer, b"Retry-After") == "59"
        assert field(answer, b"X-AppMinLimit-Remaining") == "0"
    assert xero.ledger.refused == Counter(appminute=2)


def test_limits_come_in_the_order_concurrent_minute_day_app() -> None:
    limits = {"concurrent_limit": 1, "minute_limit": 1, "day_limit": 1, "app_minute_limit": 1}
    problems = []
    for limit in list(limits):
        xero = make(**limits)
        xero.arrive(call(), 0.0)
        problems.append(field(xero.arrive(call(), 0.0).answer, b"X-Rate-Limit-Problem"))
        limits[limit] = 100
    assert problems == ["concurrent", "minute", "day", "appminute"]


def test_each_app_has_its_own_limits_at_a_tenant() -> None:
    xero = make(minute_limit=1)
    assert [ask(xero, call(token=jwt(client_id=app))).status for app in "aba"] == [200, 200, 429]


def test_a_refused_call_spends_nothing_unless_told_so() -> None:
    for count_refused, status in ((False, 200), (True, 429)):
        xero = make(minute_limit=1, count_refused=count_refused)
        ask(xero, call(), 0.0)
        ask(xero, call(), 30.0)
        assert ask(xero, call(), 60.0).status == status


@given(
    st.sampled_from(list(WindowKind)),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20), st.booleans()), max_size=80),
)
def test_no_limit_is_ever_passed(kind: WindowKind, steps: list[tuple[float, float, bool]]) -> None:
    xero, now = make(minute_limit=4, concurrent_limit=2, windows=kind), 0.0
    accepted: list[float] = []
    running: list[tuple[Begun, float]] = []
    for gap, length, foreign in steps:
        now += gap
        for begun, end in [one for one in running if one[1] <= now]:
            xero.finish(begun, end)
            running.remove((begun, end))
        if foreign:
            xero.foreign_call("t1", now)
            continue
        begun = xero.arrive(call(), now)
        if begun.answer.status == 200:
            accepted.append(now)
            running.append((begun, now + length))
        assert xero.in_progress() == len(running) <= 2
    if kind is WindowKind.ROLLING:
        assert all(sum(t <= one < t + 60.0 for one in accepted) <= 4 for t in accepted)
    arrivals = [entry.time for entry in xero.ledger.entries]
    peak = max((sum(t <= one < t + 60.0 for one in arrivals) for t in arrivals), default=0)
    assert xero.peak_rolling("t1") == peak


def test_foreign_calls_use_the_tenants_limit_and_no_peak_of_ours() -> None:
    xero = make(minute_limit=3)
    assert xero.foreign_call("t1", 0.0)
    assert xero.foreign_call("t1", 0.0)
    assert field(ask(xero, call()), b"X-MinLimit-Remaining") == "0"
    assert not xero.foreign_call("t1", 1.0)
    assert (xero.peak_rolling("t1"), xero.foreign_counted("t1")) == (1, 2)


def test_random_foreign_calls_come_at_their_rate() -> None:
    xero = make(foreign_per_minute=24.0)
    xero.foreign_call("t1", 0.0)
    ask(xero, call(), 6000.0)
    assert 2100 < xero.foreign_counted("t1") < 2700


def test_the_same_seed_gives_the_same_xero() -> None:
    def run() -> list[object]:
        xero = make(seed=7, latency=(0.05, 0.3), jitter=0.1, foreign_per_minute=30.0)
        return [(xero.transit(), xero.arrive(call(), float(now))) for now in range(20)]

    assert run() == run()
