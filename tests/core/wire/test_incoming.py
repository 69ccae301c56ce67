"""Heads that come in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wire import heads
from proxy.core.wire.heads import MAX_HEAD, Incoming, Lines, bodiless, read_request
from proxy.core.wire.strict import Problem


def partial(data: bytes) -> Problem | bytes | None:
    """What is said of the beginning of a head."""
    incoming = Incoming()
    incoming.data += data
    return incoming.head()


def test_the_beginning_of_a_head_is_judged_early() -> None:
    assert partial(b"GET / HTTP/1.1\r\nHost: x\r") is None
    assert partial(b"") is None
    assert isinstance(partial(b" GET"), Problem)
    assert partial(b"\r") is None
    assert isinstance(partial(b"GET / HTTP/1.1\nHost: x"), Problem)
    assert isinstance(partial(b"x" * (MAX_HEAD + 1)), Problem)


@given(
    st.lists(st.sampled_from([b"GET", b" ", b"\r\n", b"\r", b"\n", b"a: b", b"\r\n\r\n"]), max_size=12),
    st.lists(st.integers(0, 30)),
)
def test_how_a_head_is_cut_changes_nothing(parts: list[bytes], cuts: list[int]) -> None:
    """But that a problem may be plain before the end has come."""
    data = b"".join(parts)
    ends = sorted({*(cut for cut in cuts if cut < len(data)), len(data)})
    whole, cut, at = Incoming(), Incoming(), 0
    whole.data += data
    said: Problem | bytes | None = None
    for end in ends:
        cut.data += data[at:end]
        at = end
        said = said or cut.head()
    expected = whole.head()
    if isinstance(said, Problem):
        assert not isinstance(expected, bytes) or isinstance(read_request(expected, Lines()), Problem)
    else:
        assert said == expected
        assert cut.take() == whole.take()


def test_what_begins_as_a_head_request_is_known_before_all_of_it_is_there() -> None:
    begun = [b"HEAD /", b"HEAD  \n", b"HEAD", b"head /", b"GET / HEAD "]
    assert [bodiless(data) for data in begun] == ["HEAD", "HEAD", "", "", ""]


class Counting(bytearray):
    """Counts the bytes that searches and slices could have looked at."""

    steps = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        Counting.steps += len(self) - start
        return super().find(sub, start, end)

    def count(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        Counting.steps += len(self) - start
        return super().count(sub, start, end)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        Counting.steps += len(found) if isinstance(key, slice) else 1
        return found


@pytest.mark.parametrize("unit", [b"a", b"a: b\r\n", b"\r\n"])
def test_a_head_that_comes_byte_by_byte_costs_a_few_steps_a_byte(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "bytearray", Counting, raising=False)
    monkeypatch.setattr(Counting, "steps", 0)
    incoming = Incoming()
    size = MAX_HEAD // len(unit) * len(unit)
    for byte in b"a" * (unit == b"a: b\r\n") + unit * (size // len(unit)):
        incoming.data.append(byte)
        assert not isinstance(incoming.head(), Problem) or len(incoming.data) >= MAX_HEAD
    assert isinstance(incoming.data, Counting)
    assert size <= Counting.steps <= 16 * size
