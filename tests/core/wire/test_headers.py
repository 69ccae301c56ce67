from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wire.fields import Fields
from proxy.core.wire.headers import (
    NAMES_KEPT,
    VIA,
    end_to_end_request,
    end_to_end_response,
    overrides,
    overrides_of,
    urgency,
    wait_preference,
)


def test_a_request_keeps_order_repetition_case_and_bytes() -> None:
    headers = ((b"X-One", b"\xff\xfe"), (b"x-ONE", b"two"), (b"Accept", b"*/*"), (b"X-One", b"3"))
    assert end_to_end_request(Fields(headers)) == headers


def test_a_request_gets_a_via_where_that_is_asked_for() -> None:
    headers = ((b"Via", b"1.1 theirs"), (b"A", b"b"))
    assert end_to_end_request(Fields(headers)) == headers
    assert end_to_end_request(Fields(headers), via=True) == (*headers, VIA)


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Proxy-Anything",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Content-Length",
        "Host",
        "Expect",
        "Prefer",
        "Priority",
        "HTTP2-Settings",
    ],
)
def test_a_request_loses_what_is_for_this_hop_or_for_the_proxy(name: str) -> None:
    assert end_to_end_request(Fields(((name.encode(), b"x"), (b"A", b"b")))) == ((b"A", b"b"),)


def test_an_empty_idempotency_key_is_none_and_does_not_go_on() -> None:
    assert end_to_end_request(Fields(((b"idempotency-KEY", b""), (b"A", b"b")))) == ((b"A", b"b"),)
    kept = ((b"Idempotency-Key", b"k"),)
    assert end_to_end_request(Fields(kept)) == kept


def test_what_connection_lists_does_not_go_on() -> None:
    headers = (
        (b"Connection", b"X-Hop , close"),
        (b"connection", b"x-other"),
        (b"x-hop", b"1"),
        (b"X-Other", b"2"),
    )
    assert end_to_end_request(Fields(headers)) == ()
    assert end_to_end_response(Fields((*headers, (b"A", b"b")))) == ((b"A", b"b"),)


@pytest.mark.parametrize(
    "name", [b"X-Xero-Proxy-Class", b"x-xero-proxy-new", b"Proxy-Status", b"Content-Length"]
)
def test_a_response_loses_framing_and_the_proxys_own_marks(name: bytes) -> None:
    assert end_to_end_response(Fields(((name, b"forged"), (b"Set-Cookie", b"a")))) == ((b"Set-Cookie", b"a"),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("wait=10", 10.0),
        ("WAIT = 5", 5.0),
        ('wait="7"', 7.0),
        ("respond-async, wait=3", 3.0),
        ("wait=0", 0.0),
        ("wait=1, wait=9", 1.0),
        ('note="a, wait=1", wait=2', 2.0),
        ("wait=4; foo=bar", 4.0),
        ("wait", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=x", None),
        ("waiter=1", None),
        ("", None),
        ("wait=99999999999999", None),
        ("=;,", None),
    ],
)
def test_prefer_wait(value: str, expected: float | None) -> None:
    assert wait_preference(Fields(((b"Prefer", value.encode()),))) == expected


def test_wait_may_stand_in_a_second_prefer_field() -> None:
    assert wait_preference(Fields(((b"prefer", b"respond-async"), (b"Prefer", b"wait=2")))) == 2.0
    assert wait_preference(Fields(((b"A", b"b"),))) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u=0", 0),
        ("u=7", 7),
        ("i, u=5", 5),
        ("u=1, u=6", 6),
        ("u=2;x=1", 2),
        ('a="b,u=1", u=4', 4),
        ("a=(1 2), u=1", 1),
        ("u=8", 3),
        ("u=-1", 3),
        ("u=1.0", 3),
        ("u", 3),
        ("u=?1", 3),
        ("u=1,", 3),
        ("U=1", 3),
        ("u=1 x", 3),
        ('u="1"', 3),
        ("", 3),
        ("u=1,,i", 3),
        ("i", 3),
    ],
)
def test_priority_is_a_structured_field_and_junk_counts_as_absent(value: str, expected: int) -> None:
    assert urgency(Fields(((b"Priority", value.encode()),))) == expected


def test_repeated_priority_fields_are_one_dictionary() -> None:
    assert urgency(Fields(((b"Priority", b"u=1"), (b"priority", b"i")))) == 1
    assert urgency(Fields()) == 3


@given(st.binary(max_size=60))
def test_any_bytes_are_a_wait_or_none_and_an_urgency(value: bytes) -> None:
    wait = wait_preference(Fields(((b"Prefer", value),)))
    assert wait is None or wait >= 0
    assert 0 <= urgency(Fields(((b"Priority", value),))) <= 7


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Host", b"X-A", b"x-a", b"Connection", b"TE", b"B"]), st.binary(max_size=5)
        )
    )
)
def test_filtering_twice_changes_nothing_more(fields: list[tuple[bytes, bytes]]) -> None:
    once = end_to_end_request(Fields(tuple(fields)))
    assert end_to_end_request(Fields(once)) == once
    assert end_to_end_response(Fields(end_to_end_response(Fields(tuple(fields))))) == end_to_end_response(
        Fields(tuple(fields))
    )


def test_what_connection_names_beside_the_usual_is_removed_too() -> None:
    headers = ((b"Connection", b"close"), (b"connection", b"x-hop"), (b"X-Hop", b"1"), (b"A", b"b"))
    assert end_to_end_request(Fields(headers)) == ((b"A", b"b"),)
    usual = ((b"Connection", b"Keep-Alive"), (b"A", b"b"))
    assert end_to_end_response(Fields(usual)) == ((b"A", b"b"),)


def test_very_many_names_pass_as_the_first_do() -> None:
    headers = tuple((b"X-%d" % number, b"") for number in range(2 * NAMES_KEPT))
    for _ in range(2):
        assert end_to_end_response(Fields((*headers, (b"X-Xero-Proxy-Class", b"forged")))) == headers


@pytest.mark.parametrize(
    ("target", "methods"),
    [
        (b"/a", ()),
        (b"/_method=PUT", ()),
        (b"/a?x=_method", ()),
        (b"/a?_method=put", ("PUT",)),
        (b"/a?b&_METHOD=%50ut&%5fmethod=+get+", ("PUT", "GET")),
        (b"/a?_method", ("",)),
    ],
)
def test_a_parameter_may_ask_for_another_method(target: bytes, methods: tuple[str, ...]) -> None:
    assert overrides_of(target) == methods


def test_fields_may_ask_for_another_method() -> None:
    fields = Fields(
        ((b"X-HTTP-Method", b"put"), (b"x-http-method-override", b" Delete "), (b"X-HTTP-METHOD", b"\xff"))
    )
    assert overrides(fields) == ("DELETE", "PUT", "\xff")
    assert overrides(Fields()) == ()
