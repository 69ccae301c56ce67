from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.wire.fields import Fields
from proxy.core.wire.framing import MAX_CHUNK_LINE, BadFraming, Chunked, Counted, response_length


def decode(framing: Chunked | Counted, *parts: bytes) -> tuple[bytes, bytes]:
    body, rest = b"", b""
    for part in parts:
        if framing.done:
            rest += part
            continue
        piece, rest = framing.feed(part)
        body += piece
    return body, rest


def test_a_counted_body_ends_at_its_length() -> None:
    framing = Counted(5)
    assert framing.feed(b"abc") == (b"abc", b"")
    assert not framing.done
    assert framing.feed(b"defgh") == (b"de", b"fgh")
    assert framing.done


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=10), st.data())
def test_chunks_decode_to_the_same_body_however_they_are_split(
    chunks: list[bytes], after: bytes, data: st.DataObject
) -> None:
    wire = (
        b"".join(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        + b"0\r\nX-T: 1\r\n\r\n"
        + after
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    framing = Chunked()
    parts = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert decode(framing, *parts) == (b"".join(chunks), after)
    assert framing.done


@pytest.mark.parametrize(
    "wire",
    [
        b"5 \r\nhello\r\n",
        b"5\nhello\n",
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5;\r\n",
        b'5;a="b\r\n',
        b"5;a=\r\n",
        b"1" * 16 + b"\r\n",
        b"5\r\nhelloX",
        b"5\r\nhello\nX",
        b"5\r\nhelloXY\r\n",
        b"1" * 300,
        b"5;" + b"a" * 300 + b"\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\n: x\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nhost: x\r\n\r\n",
        b"0\r\n" + b"X: %b\r\n" % (b"y" * 200) * 50,
    ],
)
def test_chunks_that_two_readers_could_read_differently_are_refused(wire: bytes) -> None:
    with pytest.raises(BadFraming):
        Chunked().feed(wire)


@given(st.binary(max_size=80))
def test_any_bytes_decode_or_are_refused(wire: bytes) -> None:
    try:
        body, rest = Chunked().feed(wire)
    except BadFraming:
        return
    assert len(body) + len(rest) <= len(wire)


def headers(*fields: tuple[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in fields)


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_how_a_response_ends(method: str, status: int) -> None:
    counted = Fields(headers(("content-LENGTH", "5"), ("A", "b")))
    assert response_length(method, status, counted) == (5, False)
    assert response_length(method, status, Fields(headers(("Transfer-Encoding", "Chunked")))) == (None, False)
    ends_with_its_connection = (method, status) == ("GET", 200)
    assert response_length(method, status, Fields()) == (None, ends_with_its_connection)


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Length", "5"), ("Content-Length", "5")],
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "-5")],
        [("Content-Length", "")],
        [("Content-Length", "1" * 16)],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
    ],
)
def test_a_response_whose_end_has_two_readings_is_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(BadFraming):
        response_length("GET", 200, Fields(headers(*fields)))


@pytest.mark.parametrize(
    "line",
    [b"5;" + b"a" * 200 + b"\r\nhello\r\n", b"0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(900))],
)
def test_what_comes_byte_by_byte_is_gone_through_again_for_one_short_line_alone(line: bytes) -> None:
    """So a byte costs no more for how much came before it."""
    framing = Chunked()
    for byte in line:
        framing.feed(bytes([byte]))
        assert len(framing._held) <= MAX_CHUNK_LINE
