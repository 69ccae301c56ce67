"""What has been tried of a request: its deadline, its key, and what it waited for."""

from __future__ import annotations

from math import inf

import pytest

from proxy.core.answers.idempotency import KEY_BYTES, KEY_LIFE_SECONDS, Keys
from proxy.core.answers.route import LONGEST_WAIT_SECONDS, AppIds, request_of, terms_of
from proxy.core.answers.tried import Tried, untried
from proxy.core.model import Execution, Headers, Host, ResponseClass, Route
from proxy.core.wire.fields import Fields
from proxy.observe.telemetry import Record

NOW = 1000.0
LOST = ResponseClass("upstream_reset", Execution.UNKNOWN)
OK = ResponseClass("success", Execution.DONE, proves=True)


class Bits:
    """Random bytes that are never the same."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")


def begun(
    method: str = "GET",
    *headers: tuple[bytes, bytes],
    host: Host = Host.API,
    bits: Bits | None = None,
    max_wait: float = 120.0,
    keys_honoured: bool = True,
    target: bytes = b"/x",
) -> Tried:
    fields = Fields(headers)
    route = Route(host, "accounting", "app", "t1", limited=True, template="/", keys=keys_honoured)
    terms = terms_of(fields, AppIds())
    return untried(request_of("id", NOW, method, target, fields, terms, route, max_wait), bits)


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
    made = begun("GET", *(((b"Prefer", wait),) if wait is not None else ()))
    assert made.request.deadline == NOW + seconds


def test_a_deadline_of_the_settings_may_be_later_than_any_that_a_caller_can_ask_for() -> None:
    assert begun(max_wait=86_400.0).request.deadline == NOW + 86_400.0
    assert (
        begun("GET", (b"Prefer", b"wait=86400"), max_wait=86_400.0).request.deadline
        == NOW + LONGEST_WAIT_SECONDS
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_write_without_a_key_gets_one(method: str) -> None:
    made = begun(method, bits=Bits())
    assert len(keys(made.headers)) == 1
    assert made.keyed
    assert made.own_key


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_nothing_else_does(method: str) -> None:
    made = begun(method, bits=Bits())
    assert keys(made.headers) == []
    assert not made.keyed


def test_neither_the_identity_host_nor_a_proxy_that_shall_not_gives_keys() -> None:
    assert keys(begun("POST", host=Host.IDENTITY, bits=Bits(), keys_honoured=False).headers) == []
    assert keys(begun("POST", bits=None).headers) == []


def test_a_callers_key_is_kept_and_an_empty_one_is_none() -> None:
    own = begun("POST", (b"IDEMPOTENCY-KEY", b"mine"), bits=Bits())
    assert keys(own.headers) == [b"mine"]
    assert own.keyed
    assert not own.own_key
    empty = begun("POST", (b"Idempotency-Key", b""), bits=Bits())
    (made,) = keys(empty.headers)
    assert made.startswith(b"xero-proxy-")
    assert empty.own_key
    without = begun("POST", (b"Idempotency-Key", b""))
    assert keys(without.headers) == []
    assert not without.keyed


@pytest.mark.parametrize("own", [True, False])
def test_no_key_protects_where_the_api_documents_none(own: bool) -> None:
    headers = () if own else ((b"Idempotency-Key", b"mine"),)
    made = begun("POST", *headers, bits=Bits(), keys_honoured=False)
    assert keys(made.headers) == ([] if own else [b"mine"])
    assert not made.keyed


@pytest.mark.parametrize(
    ("method", "override", "counts_as", "keyed"),
    [
        ("GET", b"POST", "POST", False),
        ("GET", b" delete ", "DELETE", False),
        ("GET", b"Get", "GET", False),
        ("DELETE", b"GET", "DELETE", False),
        ("DELETE", b"MERGE", "MERGE", False),
        ("POST", b"GET", "POST", True),
        ("POST", b"PUT", "POST", True),
        ("GET", b"", "", False),
    ],
)
@pytest.mark.parametrize(
    "name", [b"X-HTTP-Method-Override", b"x-http-method", b"X-Method-Override", b"?a=b&_Method="]
)
def test_a_request_for_another_method_counts_as_the_less_safe_of_the_two(
    method: str, override: bytes, counts_as: str, keyed: bool, name: bytes
) -> None:
    if name.startswith(b"?"):
        made = begun(method, bits=Bits(), target=b"/x" + name + override.strip())
    else:
        made = begun(method, (name, override), bits=Bits())
    assert (made.request.counts_as, made.keyed) == (counts_as, keyed)


def test_a_key_that_xero_will_not_take_is_passed_on_and_protects_nothing() -> None:
    assert begun("PUT", (b"Idempotency-Key", b"k" * 128)).keyed
    long = begun("PUT", (b"Idempotency-Key", b"k" * 129), bits=Bits())
    assert keys(long.headers) == [b"k" * 129]
    assert not long.keyed


def test_a_new_key_replaces_the_old_one_and_begins_its_life_anew() -> None:
    made, seen = begun("PUT", bits=Bits()), Keys()
    made.use_key(seen, NOW)
    first = keys(made.headers)
    made.renew_key(bytes(KEY_BYTES))
    assert made.key_used_at is None
    made.use_key(seen, NOW + 5)
    assert keys(made.headers) != first
    assert made.key_used_at == NOW + 5


def test_only_a_write_that_may_have_been_executed_is_bound_by_its_keys_life() -> None:
    made = begun("PUT", (b"Prefer", b"wait=3600"), bits=Bits())
    made.use_key(Keys(), NOW)
    assert made.bound_by_key(NOW, NOW) == made.key_until == inf
    made.record(LOST)
    assert made.bound_by_key(NOW, NOW + 100.0) == made.key_until == NOW + KEY_LIFE_SECONDS - 100.0
    assert made.unknown


def test_bytes_have_no_end_by_which_to_go_before_something_may_have_been_executed() -> None:
    made = begun("PUT", bits=Bits())
    made.use_key(Keys(), NOW)
    assert made.key_ends() > NOW + 10 * KEY_LIFE_SECONDS, "nothing was executed yet"
    made.record(LOST)
    made.leave_key(Keys(), LOST)
    assert made.key_ends() > NOW + KEY_LIFE_SECONDS - 0.1
    assert made.key_ends() <= NOW + KEY_LIFE_SECONDS


def test_a_callers_key_binds_its_next_request_before_anything_is_sent() -> None:
    seen = Keys()
    first = begun("PUT", (b"Idempotency-Key", b"mine"))
    first.use_key(seen, NOW)
    first.record(OK)
    first.leave_key(seen, OK)
    again = begun("PUT", (b"Idempotency-Key", b"mine"), (b"Prefer", b"wait=3600"))
    again.heed_others(seen, NOW + 240.0)
    assert again.bound_by_key(NOW + 240.0, NOW + 240.0) == NOW + KEY_LIFE_SECONDS
    assert again.key_ends() > NOW + KEY_LIFE_SECONDS - 0.1
    assert again.key_ends() <= NOW + KEY_LIFE_SECONDS
    again.heed_others(seen, NOW + 3000.0)
    assert again.key_ends() <= NOW + 3000.0, "it asked while Xero remembered"


@pytest.mark.parametrize(
    ("row", "nothing"),
    [
        (ResponseClass("connect_failed", Execution.NEVER_SENT), True),
        (ResponseClass("offline", Execution.REJECTED), True),
        (ResponseClass("token_expired", Execution.DONE), True),
        (ResponseClass("validation", Execution.DONE, proves=True), False),
        (ResponseClass("internal_error", Execution.CACHED), False),
        (LOST, False),
    ],
)
def test_what_came_to_nothing_has_not_used_a_callers_key(row: ResponseClass, nothing: bool) -> None:
    seen = Keys()
    first = begun("PUT", (b"Idempotency-Key", b"mine"))
    first.use_key(seen, NOW)
    first.record(row)
    first.leave_key(seen, row)
    assert (seen.seen("app", b"mine", NOW) is None) is nothing
    again = begun("PUT", (b"Idempotency-Key", b"mine"))
    again.use_key(seen, NOW + 310.0)
    assert (again.key_ends() > NOW + 310.0) is nothing


def test_a_callers_key_that_was_seen_before_is_as_old_as_then() -> None:
    seen = Keys()
    begun("PUT", (b"Idempotency-Key", b"mine")).use_key(seen, NOW)
    again = begun("PUT", (b"Idempotency-Key", b"mine"))
    again.use_key(seen, NOW + 200)
    assert again.key_used_at == NOW


def test_every_attempt_with_a_callers_key_counts_as_its_use() -> None:
    seen = Keys()
    first = begun("PUT", (b"Idempotency-Key", b"mine"))
    first.use_key(seen, NOW)
    first.use_key(seen, NOW + KEY_LIFE_SECONDS)
    later = begun("PUT", (b"Idempotency-Key", b"mine"))
    later.use_key(seen, NOW + 2 * KEY_LIFE_SECONDS)
    assert later.key_used_at == NOW, "it never rested long enough to be surely forgotten"


def test_a_read_is_never_of_unknown_outcome() -> None:
    made = begun("DELETE")
    made.record(LOST)
    assert not made.unknown


def test_what_was_waited_for_longest_is_what_blocked() -> None:
    made, record = begun(), Record("id", NOW, "GET")
    record.tried(made)
    assert (record.queue_seconds, record.limit) == (0.0, "")
    made.wait("day")
    record.tried(made)
    assert (record.queue_seconds, record.limit) == (0.0, "day")
    for what, seconds in (("concurrent", 1.0), ("minute", 20.0), ("backoff", 2.0), ("minute", 10.0)):
        made.wait(what, seconds)
    record.tried(made)
    assert (record.queue_seconds, record.limit) == (33.0, "minute")


def test_a_shared_answer_is_asked_for_so_that_everybody_can_read_it() -> None:
    tried = begun("POST", (b"Accept-Encoding", b"br"), (b"X", b"y"))
    tried.accept_no_coding()
    assert tried.headers == ((b"X", b"y"), (b"Accept-Encoding", b"identity"))


def test_after_a_doubtful_attempt_what_others_did_with_the_key_changes_nothing() -> None:
    tried, others = begun("POST", (b"Idempotency-Key", b"k")), Keys(0.0)
    tried.use_key(others, 500.0)
    tried.record(LOST)
    tried.heed_others(others, 600.0)
    assert tried.send_by == inf
