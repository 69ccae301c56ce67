from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wire.fields import Fields

NAMES = st.sampled_from([b"A", b"a", b"B", b"c", b"C"])


def test_a_name_finds_the_first_value_whatever_its_case() -> None:
    fields = Fields(((b"X-A", b"1"), (b"x-a", b"2"), (b"Y", b"3")))
    assert (fields.get(b"x-a"), fields.get(b"y"), fields.get(b"z")) == (b"1", b"3", None)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=2)), max_size=6))
def test_every_value_is_found_in_order(raw: list[tuple[bytes, bytes]]) -> None:
    fields = Fields(tuple(raw))
    for name in (b"a", b"b", b"c"):
        values = [value for key, value in raw if key.lower() == name]
        assert fields.every(name) == values
        assert fields.get(name) == (values[0] if values else None)
    assert fields.repeats == (len({key.lower() for key, _ in raw}) < len(raw))
