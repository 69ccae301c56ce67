from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.simulator.control import ORDERS
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
    ("path", "value", "words"),
    [
        ("faults", {"unheard_of": 1}, "the body has no member unheard_of; it has fail_next, offline"),
        ("faults", [1], "the body must be an object with the members fail_next"),
        ("faults", None, "the body must be JSON"),
        ("faults", {"fail_next": {"kind": "unheard_of"}}, "kind must be one of 429_minute, "),
        ("faults", {"fail_next": {"kind": []}}, "kind must be one of "),
        ("faults", {"fail_next": {"times": 1}}, "fail_next needs the member kind"),
        ("faults", {"fail_next": {"kind": "500", "time": 2}}, "fail_next has no member time; it has kind"),
        ("faults", {"fail_next": {"kind": "500", "times": 1.5}}, "times must be a whole number, 1 to"),
        ("faults", {"fail_next": {"kind": "500", "times": True}}, "times must be a whole number"),
        ("faults", {"fail_next": {"kind": "500", "method": "put"}}, "method must be a method in capitals"),
        ("faults", {"fail_next": {"kind": "500", "executed": "no"}}, "executed must be true or false"),
        ("faults", {"offline": "t1"}, "offline must be an object with the members tenant, seconds"),
        ("faults", {"offline": {"tenant": "t1", "second": 5}}, "offline has no member second"),
        ("faults", {"offline": {"tenant": "", "seconds": 5}}, "tenant must be a text that is not empty"),
        ("faults", {"maintenance": "soon"}, "maintenance must be a number of seconds"),
        ("faults", {"unavailable": -1}, "unavailable must be a number of seconds"),
        ("faults", {"keys_down": float("inf")}, "keys_down must be a number of seconds"),
        ("faults", {"expire_tokens": False}, "expire_tokens must be true"),
        ("faults", {"foreign": {"calls": 1}}, "foreign needs the member tenant"),
        ("faults", {"foreign": {"tenant": "t1"}}, "foreign needs one of the members calls and per_minute"),
        ("clock", {}, "the body needs the member advance"),
        ("clock", {"advance": float("nan")}, "advance must be a number of seconds"),
        ("clock", {"advance": 1e300}, "advance must be a number of seconds"),
    ],
    ids=str,
)
async def test_an_order_that_means_nothing_is_refused_with_what_it_should_be(
    start: Start, path: str, value: object, words: str
) -> None:
    status, body = await told(await start(), "POST", path, value)
    assert status == 400
    assert body["error"].startswith(words)


async def test_what_is_no_control_call_is_told_which_there_are(start: Start) -> None:
    simulator = await start()
    for method, path in (("POST", "nothing"), ("PUT", "faults"), ("DELETE", "")):
        status, body = await told(simulator, method, path)
        assert status == 404
        assert body["error"].startswith(
            f"there is no {method} /_simulator/{path}; there are GET /_simulator/,"
        )
    assert (await told(simulator, "GET", "ledger?after=first"))[0] == 400
    assert b" 200 " in (await answer(simulator, head(b"GET /_simulator HTTP/1.1")))[0]


async def test_of_several_orders_none_is_carried_out_where_one_means_nothing(start: Start) -> None:
    simulator = await start()
    orders = {"maintenance": 60, "fail_next": {"kind": "unheard_of"}}
    assert (await told(simulator, "POST", "faults", orders))[0] == 400
    assert (await answer(simulator, head()))[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("name", ORDERS)
async def test_every_example_is_understood(start: Start, name: str) -> None:
    order = {name: json.loads(ORDERS[name].example)}
    assert (await told(await start(), "POST", "faults", order))[0] == 200


async def test_while_keys_are_down_over_http_a_keyed_write_fails(start: Start) -> None:
    simulator = await start()
    await told(simulator, "POST", "faults", {"keys_down": 5})
    assert b" 500 " in (await answer(simulator, write(b'{"Name":"Ada"}', b"Idempotency-Key: k")))[0]
    assert b" 200 " in (await answer(simulator, write()))[0]
