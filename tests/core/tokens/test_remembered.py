from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.tokens.remembered import Remembered

keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
steps = st.lists(st.tuples(keys, st.floats(0, 10), st.floats(0, 5)), max_size=40)


def test_a_value_is_remembered_until_its_time() -> None:
    remembered: Remembered[str] = Remembered(10)
    remembered.keep(b"key", "value", 5.0)
    assert remembered.get(b"key", 4.9) == "value"
    assert remembered.get(b"key", 5.0) is None
    assert remembered.get(b"other", 0.0) is None


def test_the_last_value_of_a_key_counts() -> None:
    remembered: Remembered[str] = Remembered(10)
    remembered.keep(b"key", "old", 9.0)
    remembered.keep(b"key", "new", 5.0)
    assert remembered.get(b"key", 1.0) == "new"
    assert remembered.get(b"key", 6.0) is None


def test_of_too_many_the_one_that_was_kept_first_is_forgotten() -> None:
    remembered: Remembered[str] = Remembered(2)
    for key in (b"a", b"b", b"a", b"c"):
        remembered.keep(key, key.decode(), 5.0)
    assert [remembered.get(key, 0.0) for key in (b"a", b"b", b"c")] == ["a", None, "c"]


def test_what_has_ended_is_dropped_and_nothing_else() -> None:
    remembered: Remembered[str] = Remembered(10)
    remembered.keep(b"a", "a", 5.0)
    remembered.keep(b"b", "b", 6.0)
    remembered.forget(5.0)
    assert len(remembered) == 1
    assert remembered.get(b"b", 5.0) == "b"


@given(steps, st.integers(1, 4))
def test_nothing_outlives_its_time_and_there_are_never_too_many(
    kept: list[tuple[bytes, float, float]], most: int
) -> None:
    remembered: Remembered[int] = Remembered(most)
    ends: dict[bytes, tuple[int, float]] = {}
    for number, (key, now, seconds) in enumerate(kept):
        remembered.keep(key, number, now + seconds)
        ends[key] = (number, now + seconds)
        assert len(remembered) <= most
        for known, (value, until) in ends.items():
            assert remembered.get(known, now) in ({None, value} if now < until else {None})
        remembered.forget(now)
        assert all(remembered.get(known, until) is None for known, (_, until) in ends.items())
