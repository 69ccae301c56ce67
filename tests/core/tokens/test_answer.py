from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.tokens.answer import TokenAnswer, pack, tokens_in, unpack
from proxy.core.tokens.request import revoked_tokens

headers = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5).map(tuple)
answers = st.builds(
    TokenAnswer, st.integers(100, 599), st.binary(max_size=20), headers, st.binary(), st.floats(0, 4e9)
)


@given(answers)
def test_an_answer_is_byte_for_byte_what_it_was(answer: TokenAnswer) -> None:
    assert unpack(pack(answer)) == answer


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xff", b"null", b"[1]", b'["x","","","",1]', b'[200,1,[],"",1]', b'[200,"",[["a"]],"",1]'],
)
def test_what_is_no_answer_is_none(packed: bytes) -> None:
    assert unpack(packed) is None


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"access_token":1}', b"[" * 5000, b"\xff"])
def test_what_is_no_answer_with_tokens_gives_none(body: bytes) -> None:
    assert tokens_in(body) == ()


def test_the_tokens_of_an_answer_have_the_names_of_what_revokes_them() -> None:
    refresh, access = tokens_in(b'{"access_token":"a b","refresh_token":"r"}')
    assert revoked_tokens("POST", b"/Connect/Revocation?x", b"token=a+b&token=r") == (access, refresh)
    assert revoked_tokens("GET", b"/connect/revocation", b"token=r") == ()
    assert revoked_tokens("POST", b"/connect/token", b"token=r") == ()
