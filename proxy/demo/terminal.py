"""The two ways to show a demo: a table that is painted over in place, or plain lines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, TextIO

from proxy.demo.screen import NARROWEST, Frame, Style, cut, plain, seen, story, table

TABLE_ROWS = 17
"""Lines that must fit below each other for the table not to scroll."""
_HIDE, _SHOW, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[J"


class Display(Protocol):
    """Shows frames. `every` is the seconds from one to the next."""

    every: float
    style: Style

    def begin(self, introduction: Sequence[str]) -> None:
        """Say what will be shown."""

    def show(self, frame: Frame) -> None:
        """Show the next moment."""

    def end(self, frame: Frame, summary: Sequence[str]) -> None:
        """Show the last moment and what came of it all."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def display_for(stream: TextIO, environ: Mapping[str, str], *, plainly: bool) -> Display:
    """A table where `stream` is a terminal that has room for it, else plain lines."""
    if plainly or not stream.isatty() or environ.get("TERM", "dumb") == "dumb":
        return Lines(stream)
    size = os.get_terminal_size(stream.fileno())
    if size.columns <= NARROWEST or size.lines < TABLE_ROWS:
        return Lines(stream)
    return Table(stream, Style(colours=not environ.get("NO_COLOR"), unicode=_has_blocks(stream)))


class Lines:
    """A line now and then, for files and pipes."""

    every = 3.0
    style = Style()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told = -1.0

    def begin(self, introduction: Sequence[str]) -> None:
        """Say what will be shown."""
        self._write(introduction)

    def show(self, frame: Frame) -> None:
        """What has happened since the last line, and the counts."""
        lines = [text for at, text in frame.story if self._told < at <= frame.elapsed]
        self._told = frame.elapsed
        self._write([*(f"{'':5}  {line}" for line in lines), plain(frame)])

    def end(self, frame: Frame, summary: Sequence[str]) -> None:
        """The last counts, then the summary."""
        self._write([plain(frame), "", *summary])

    def close(self) -> None:
        """Nothing to put right."""

    def _write(self, lines: Sequence[str]) -> None:
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()


class Table:
    """Lines that are painted over in place, with plain ANSI sequences."""

    every = 0.1

    def __init__(self, stream: TextIO, style: Style) -> None:
        self._stream = stream
        self.style = style
        self._lengths: list[int] = []

    def begin(self, introduction: Sequence[str]) -> None:
        """Say what will be shown, above the table."""
        self._write(_HIDE + "".join(f"{line}\n" for line in introduction))

    def show(self, frame: Frame) -> None:
        """The table, and the story below it."""
        columns = self._columns()
        # One column stays free: a terminal may wrap when its last one is written.
        lines = [*table(frame, columns - 1, self.style), "", *story(frame, self.style)]
        lines = [cut(line, columns - 1) for line in lines]
        self._write(self._back(columns) + "".join(f"{_CLEAR_LINE}{line}\n" for line in lines) + _CLEAR_BELOW)
        self._lengths = [len(seen(line)) for line in lines]

    def end(self, frame: Frame, summary: Sequence[str]) -> None:
        """The table with the summary in the place of the story."""
        columns = self._columns()
        lines = [*table(frame, columns - 1, self.style), "", *summary]
        self._write(self._back(columns) + _CLEAR_BELOW + "".join(f"{line}\n" for line in lines))

    def close(self) -> None:
        """The cursor back."""
        self._write(_SHOW)

    def _columns(self) -> int:
        return os.get_terminal_size(self._stream.fileno()).columns

    def _back(self, columns: int) -> str:
        """To where the last frame began. A terminal that was made narrower since may have wrapped it."""
        rows = sum(1 + max(0, length - 1) // columns for length in self._lengths)
        return f"\x1b[{rows}F" if rows else ""

    def _write(self, text: str) -> None:
        """All at once, so that nobody sees half a frame."""
        self._stream.write(text)
        self._stream.flush()


def _has_blocks(stream: TextIO) -> bool:
    try:
        "█░".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
