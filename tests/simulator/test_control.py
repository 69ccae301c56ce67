from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.simulator.server import Simulator
from tests.simulator.sockets import TOO_MANY, Start, answer, exchange, head, write

pytestmark = pytest.mark.looptime


async def told(simulator: Simulator, method: str, path: str, value: object = None) -> tuple[int, Any]:
    body = b"" if value is None else json.dumps(value).encode()
    line = f"{method} /_simulator/{path} HTTP/1.1".encode()
    answered, _, text = await answer(simulator, head(line, b"Content-Length: %d" % len(body)) + body)
    return int(answered.split()[1]), json.loads(text)


async def test_the_clock_is_put_forward_and_never_back(start: Start) -> None:
    simulator = await start(minute_limit=1)
    await exchange(simulator, head())
    _, before = await told(simulator, "GET", "clock")
    status, after = await told(simulator, "POST", "clock", {"advance": 60})
    assert status == 200
    assert after["now"] - before["now"] == pytest.approx(60, abs=0.1)
    assert after["wall"] - before["wall"] == pytest.approx(60, abs=0.1)
    assert (await answer(simulator, head()))[0] == b"HTTP/1.1 200 OK"
    assert (await told(simulator, "POST", "clock", {"advance": -1}))[0] == 400


async def test_the_ledger_and_the_summary_tell_what_arrived(start: Start) -> None:
    simulator = await start(minute_limit=1)
    await exchange(simulator, write())
    await exchange(simulator, head())
    _, ledger = await told(simulator, "GET", "ledger")
    assert [(e["method"], e["status"], e["executed"]) for e in ledger["entries"]] == [
        ("PUT", 200, True),
        ("GET", 429, False),
    ]
    _, later = await told(simulator, "GET", "ledger?after=1")
    assert [e["sequence"] for e in later["entries"]] == [2]
    _, summary = await told(simulator, "GET", "")
    assert (summary["arrived"], summary["refused"]) == (2, {"minute": 1})
    assert summary["statuses"] == {"200": 1, "429": 1}
    assert summary["tenants"]["t1"] == {"peak_rolling": 2, "peak_concurrent": 1, "foreign": 0}
    assert summary["duplicates"] == []


async def test_reset_forgets_everything_but_the_options(start: Start) -> None:
    simulator = await start(minute_limit=1)
    await exchange(simulator, head())
    assert (await told(simulator, "POST", "reset"))[0] == 200
    assert simulator.ledger.arrived == 0
    assert b" 200 " in (await answer(simulator, head()))[0]
    assert b" 429 " in (await answer(simulator, head()))[0]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ({"offline": {"tenant": "t1", "seconds": 5}}, b"HTTP/1.1 503 Service Unavailable"),
        ({"offline": {"tenant": "t1"}}, b"HTTP/1.1 503 Service Unavailable"),
        ({"maintenance": 5}, b"HTTP/1.1 503 Service Unavailable"),
        ({"unavailable": 5}, b"HTTP/1.1 503 Service Unavailable"),
        ({"fail_next": {"kind": "500"}}, b"HTTP/1.1 500 Internal Server Error"),
        (
            {"fail_next": {"times": 2, "kind": "502", "tenant": "t1", "method": "GET"}},
            b"HTTP/1.1 502 Bad Gateway",
        ),
        ({"expire_tokens": True}, b"HTTP/1.1 401 Unauthorized"),
        ({"foreign": {"tenant": "t1", "calls": 59}}, TOO_MANY),
        ({"foreign": {"tenant": "t1", "per_minute": 1e6}}, TOO_MANY),
        ({"offline": {"tenant": "t1"}, "online": "t1"}, b"HTTP/1.1 200 OK"),
    ],
)
async def test_faults_are_ordered_over_http(start: Start, fault: dict[str, object], line: bytes) -> None:
    simulator = await start()
    await exchange(simulator, head())
    assert (await told(simulator, "POST", "faults", fault))[0] == 200
    await simulator.clock.sleep_until(simulator.clock.now() + 1.0)
    assert (await answer(simulator, head()))[0] == line


async def test_faults_are_cleared_over_http(start: Start) -> None:
    simulator = await start()
    await told(simulator, "POST", "faults", {"maintenance": 100, "fail_next": {"kind": "hang"}})
    assert (await told(simulator, "DELETE", "faults"))[0] == 200
    assert b" 200 " in (await answer(simulator, head()))[0]


@pytest.mark.parametrize(
    ("path", "value", "status"),
    [
        ("nothing", {}, 404),
        ("faults", {"unheard_of": 1}, 404),
        ("faults", {"fail_next": {"kind": "unheard_of"}}, 400),
        ("faults", {"offline": "t1"}, 400),
        ("faults", {"foreign": {"calls": 1}}, 404),
        ("faults", [1], 400),
        ("clock", {}, 404),
    ],
)
async def test_a_control_call_that_means_nothing_is_refused(
    start: Start, path: str, value: object, status: int
) -> None:
    answered, body = await told(await start(), "POST", path, value)
    assert (answered, "error" in body) == (status, True)
