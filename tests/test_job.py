"""One request under way: its deadline, its key, and what it waited for."""

from __future__ import annotations

from typing import cast

import pytest

from proxy.call import Call
from proxy.clock import Clock
from proxy.core.idempotency import KEY_LIFE_SECONDS, Keys
from proxy.core.model import Execution, Headers, Host, ResponseClass, Route
from proxy.core.route import AppIds, terms_of
from proxy.job import LONGEST_WAIT_SECONDS, Job
from proxy.telemetry import Record
from tests.fakes import VirtualLoop
from tests.inprocess import FakeCall

NOW = 1000.0
LOST = ResponseClass("upstream_reset", Execution.UNKNOWN)


class Bits:
    """Random bytes that are never the same."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")


def job(
    method: str = "GET",
    *headers: tuple[bytes, bytes],
    host: Host = Host.API,
    bits: Bits | None = None,
    tenant: str | None = "t1",
    max_wait: float = 120.0,
) -> Job:
    loop = VirtualLoop(NOW)
    call = FakeCall(Clock(loop), method, headers=headers)
    loop.close()
    route = Route(host, "accounting", "app", tenant, limited=True, template="/")
    terms = terms_of(call.fields, AppIds())
    return Job(cast("Call", call), route, terms, Record("id", NOW, method), max_wait, 300.0, bits)


def keys(headers: Headers) -> list[bytes]:
    return [value for name, value in headers if name.lower() == b"idempotency-key"]


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        (None, 120.0),
        (b"wait=5", 5.0),
        (b"wait=600", 600.0),
        (b"wait=0", 0.0),
        (b"wait=999999", LONGEST_WAIT_SECONDS),
        (b"wait=-1", 120.0),
        (b"respond-async, wait=7", 7.0),
    ],
)
def test_the_deadline_counts_from_arrival_and_is_the_callers_to_choose(
    wait: bytes | None, seconds: float
) -> None:
    made = job("GET", *(((b"Prefer", wait),) if wait is not None else ()))
    assert made.deadline == made.ticket.deadline == NOW + seconds


def test_a_deadline_of_the_settings_may_be_later_than_any_that_a_caller_can_ask_for() -> None:
    assert job(max_wait=86_400.0).deadline == NOW + 86_400.0
    assert job("GET", (b"Prefer", b"wait=86400"), max_wait=86_400.0).deadline == NOW + LONGEST_WAIT_SECONDS


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_write_without_a_key_gets_one(method: str) -> None:
    made = job(method, bits=Bits())
    assert len(keys(made.headers())) == 1
    assert made.history.keyed
    assert made.history.own_key


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_nothing_else_does(method: str) -> None:
    made = job(method, bits=Bits())
    assert keys(made.headers()) == []
    assert not made.history.keyed


def test_neither_the_identity_host_nor_a_proxy_that_shall_not_gives_keys() -> None:
    assert keys(job("POST", host=Host.IDENTITY, bits=Bits()).headers()) == []
    assert keys(job("POST", bits=None).headers()) == []


def test_a_callers_key_is_kept_and_an_empty_one_is_none() -> None:
    own = job("POST", (b"IDEMPOTENCY-KEY", b"mine"), bits=Bits())
    assert keys(own.headers()) == [b"mine"]
    assert own.history.keyed
    assert not own.history.own_key
    empty = job("POST", (b"Idempotency-Key", b""), bits=Bits())
    assert keys(empty.headers()) == [b"xero-proxy-00000000000000000000000000000001"]
    assert empty.history.own_key
    assert keys(job("POST", (b"Idempotency-Key", b""), bits=None).headers()) == []


def test_a_key_that_xero_will_not_take_is_passed_on_and_protects_nothing() -> None:
    assert job("PUT", (b"Idempotency-Key", b"k" * 128)).history.keyed
    long = job("PUT", (b"Idempotency-Key", b"k" * 129), bits=Bits())
    assert keys(long.headers()) == [b"k" * 129]
    assert not long.history.keyed


def test_a_new_key_replaces_the_old_one_and_begins_its_life_anew() -> None:
    made, seen = job("PUT", bits=Bits()), Keys()
    made.use_key(seen, NOW)
    first = keys(made.headers())
    made.renew_key()
    assert made.history.key_used_at is None
    made.use_key(seen, NOW + 5)
    assert keys(made.headers()) != first
    assert made.history.key_used_at == NOW + 5


def test_only_a_write_that_may_have_been_executed_is_bound_by_its_keys_life() -> None:
    made = job("PUT", (b"Prefer", b"wait=3600"), bits=Bits())
    made.use_key(Keys(), NOW)
    made.bound_by_key()
    assert made.ticket.deadline == NOW + 3600
    made.history.record(LOST)
    made.bound_by_key()
    assert made.ticket.deadline == NOW + KEY_LIFE_SECONDS
    assert made.unknown


def test_a_callers_key_that_was_seen_before_is_as_old_as_then() -> None:
    seen = Keys()
    job("PUT", (b"Idempotency-Key", b"mine")).use_key(seen, NOW)
    again = job("PUT", (b"Idempotency-Key", b"mine"))
    again.use_key(seen, NOW + 200)
    assert again.history.key_used_at == NOW


def test_every_attempt_with_a_callers_key_counts_as_its_use() -> None:
    seen = Keys()
    first = job("PUT", (b"Idempotency-Key", b"mine"))
    first.use_key(seen, NOW)
    first.use_key(seen, NOW + KEY_LIFE_SECONDS)
    later = job("PUT", (b"Idempotency-Key", b"mine"))
    later.use_key(seen, NOW + 2 * KEY_LIFE_SECONDS)
    assert later.history.key_used_at == NOW, "it never rested long enough to be surely forgotten"


def test_a_request_of_no_organisation_is_known_as_such() -> None:
    assert job().history.tenant
    assert not job(tenant=None).history.tenant


def test_a_read_is_never_of_unknown_outcome() -> None:
    made = job("DELETE")
    made.history.record(LOST)
    assert not made.unknown


def test_what_was_waited_for_longest_is_what_blocked() -> None:
    made = job()
    made.count_waits()
    assert (made.record.queue_seconds, made.record.limit) == (0.0, "")
    made.ticket.waited.update({"concurrent": 1.0, "minute": 30.0, "backoff": 2.0})
    made.count_waits()
    assert (made.record.queue_seconds, made.record.limit) == (33.0, "minute")
