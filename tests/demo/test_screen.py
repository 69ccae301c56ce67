"""The table as text, and what is written to a terminal to show it."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.load import ORGANISATIONS
from proxy.demo.screen import BOLD, NARROWEST, Frame, Row, Style, cut, plain, seen, table
from proxy.demo.tally import Refusals
from proxy.demo.terminal import Display, Lines, Table, display_for

ESCAPE = "\x1b"
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_END = "(end)"


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A terminal of 80 columns and 24 lines: where a program writes, and the descriptor of the other side."""
    ours, theirs = os.openpty()
    resize(theirs, 80, 24)
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream, ours
    os.close(ours)


def written(terminal: tuple[TextIO, int]) -> str:
    """Everything that has been written since the last look; a mark says where that ends."""
    stream, reader = terminal
    stream.write(_END)
    stream.flush()
    text = ""
    while not text.endswith(_END):
        text += os.read(reader, 65536).decode()
    return text.removesuffix(_END).replace("\r\n", "\n")


def resize(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def row(name: str = "Harbour Bakery", **values: object) -> Row:
    standard = {"sent": 9, "answered": 4, "waiting": 3, "left": 30, "limit": 60, "reason": "minute"}
    return Row(name=name, **{**standard, "seconds": 2.5, "retries": 1, "refusals": Refusals(), **values})  # type: ignore[arg-type]  # the test's keywords are the fields


FRAME = Frame(
    9.0,
    40.0,
    15.0,
    (row(), row("Kauri Timber", reason="offline")),
    ((8.0, "It went offline"), (16.0, "Back")),
)


def test_a_terminal_with_room_gets_the_table_and_anything_else_lines(terminal: tuple[TextIO, int]) -> None:
    stream, _ = terminal
    xterm = {"TERM": "xterm"}
    assert isinstance(display_for(stream, xterm, plainly=False), Table)
    others: list[Display] = [
        display_for(stream, xterm, plainly=True),
        display_for(stream, {"TERM": "dumb"}, plainly=False),
        display_for(io.StringIO(), xterm, plainly=False),
    ]
    resize(stream.fileno(), 60, 24)
    others.append(display_for(stream, xterm, plainly=False))
    resize(stream.fileno(), 80, 10)
    others.append(display_for(stream, xterm, plainly=False))
    assert {type(other) for other in others} == {Lines}


def test_the_table_is_painted_over_itself_and_gives_the_cursor_back(terminal: tuple[TextIO, int]) -> None:
    stream, _ = terminal
    display = display_for(stream, {"TERM": "xterm", "NO_COLOR": "1"}, plainly=False)
    display.begin(["What this is"])
    display.show(FRAME)
    first = written(terminal)
    display.show(FRAME)
    again = written(terminal)
    display.end(FRAME, ["Sent  all"])
    display.close()
    last = written(terminal)
    painted = first.count("\n") - 1
    assert again.startswith(f"\x1b[{painted}F")
    assert again.count("\n") == painted
    assert first.startswith("\x1b[?25l")
    assert last.endswith("\x1b[?25h")
    assert "It went offline" in again
    assert "It went offline" not in last
    assert not re.search(r"\x1b\[[0-9;]*m", first + again + last), "NO_COLOR"
    lines = _SEQUENCE.sub("", first + again).splitlines()
    assert max(len(line) for line in lines) <= 79


def test_a_terminal_made_narrower_is_painted_over_from_where_the_wrapped_frame_began(
    terminal: tuple[TextIO, int],
) -> None:
    stream, _ = terminal
    display = display_for(stream, {"TERM": "xterm"}, plainly=False)
    display.show(FRAME)
    painted = _SEQUENCE.sub("", written(terminal)).splitlines()
    resize(stream.fileno(), 60, 24)
    display.show(FRAME)
    again = written(terminal)
    assert again.startswith(f"\x1b[{sum(-(-max(1, len(line)) // 60) for line in painted)}F")
    assert max(len(line) for line in _SEQUENCE.sub("", again).splitlines()) <= 59


counts = st.integers(0, 9999)
rows = st.builds(
    row,
    name=st.sampled_from([organisation.name for organisation in ORGANISATIONS]),
    sent=counts,
    answered=counts,
    waiting=counts,
    left=st.integers(0, 60),
    reason=st.sampled_from(["", "minute", "concurrent", "offline", "offline probe", "maintenance"]),
    seconds=st.none() | st.floats(0, 300),
    retries=counts,
    refusals=st.builds(Refusals, st.integers(0, 9), st.integers(0, 9)),
    shared=st.booleans(),
)


@given(st.lists(rows, min_size=1, max_size=6), st.integers(NARROWEST, 200), st.booleans())
def test_no_line_of_the_table_is_wider_than_the_terminal(found: list[Row], width: int, colours: bool) -> None:
    lines = table(Frame(9.0, 40.0, 15.0, tuple(found)), width, Style(colours=colours))
    assert max(len(seen(line)) for line in lines) <= width
    assert {len(seen(line)) for line in lines[1:]} == {len(seen(lines[1]))}, (
        "the columns stand below each other"
    )
    assert colours == any(ESCAPE in line for line in lines)


def test_the_table_says_what_a_second_stands_for() -> None:
    assert table(FRAME, 80, Style())[0] == "0:09 of about 0:40; 1 s stands for 15 s"


def test_a_line_is_cut_by_what_is_seen_and_keeps_its_colours() -> None:
    line = f"{Style(colours=True).paint('bold', BOLD)} and plain"
    assert cut(line, 6) == "\x1b[1mbold\x1b[0m a"
    assert cut(line, 2) == "\x1b[1mbo\x1b[0m"


def test_a_plain_line_says_who_waits_for_what() -> None:
    frame = Frame(65.0, 80.0, 15.0, (row(reason="concurrent"), row("Kauri Timber", waiting=0)))
    assert plain(frame) == (
        " 1:05  sent 18, answered 8, waiting 3, retries 2, 429s 0; Harbour Bakery 3 for a free slot"
    )
