"""What a server answers, however its bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stores.resp import LONGEST_REPLY, Refused, Replies, Reply, packed

LEAF = st.none() | st.integers() | st.binary()
REPLY: st.SearchStrategy[Reply] = st.recursive(LEAF, st.lists, max_leaves=8).filter(lambda r: depth(r) <= 4)


def depth(reply: Reply) -> int:
    return 1 + max(map(depth, reply), default=0) if isinstance(reply, list) else 0


def written(reply: Reply | Refused) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n%b" % (len(reply), b"".join(map(written, reply)))
        case Refused(text):
            return b"-%b\r\n" % text.encode()


@given(
    st.lists(REPLY | st.sampled_from([Refused("NOSCRIPT No matching script."), Refused("")])),
    st.integers(1, 9),
)
def test_replies_are_read_whatever_the_pieces_in_which_they_come(
    replies: list[Reply | Refused], size: int
) -> None:
    octets, reader = b"".join(map(written, replies)), Replies()
    pieces = [octets[place : place + size] for place in range(0, len(octets), size)]
    assert [reply for piece in pieces for reply in reader.read(piece)] == replies
    assert Replies().read(octets) == replies


def test_a_status_and_the_older_nil_are_read_too() -> None:
    assert Replies().read(b"+OK\r\n*-1\r\n") == [b"OK", None]


@pytest.mark.parametrize(
    "octets",
    [
        *(b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b":\r\n", b"$1\r\nab\r\n", b"*1\r\n-ERR\r\n", b"\r\n"),
        *(b"x-1\r\n", b"x1\r\n", b"*1\r\n!-1\r\n"),
        b"*1\r\n" * 6 + b":1\r\n",
        b"$" + b"1" * (LONGEST_REPLY + 1),
    ],
)
def test_what_is_no_reply_to_a_script_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError):
        Replies().read(octets)


def test_a_command_is_its_parts_with_their_lengths() -> None:
    assert packed([b"GET", b"a\r\nb", b""]) == b"*3\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n"
