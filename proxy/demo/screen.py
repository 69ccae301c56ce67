"""One moment of the demo as lines of text. Nothing here writes to a terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.demo.tally import Refusals

WIDEST_BAR = 24
_SGR = re.compile(r"(\x1b\[[0-9;]*m)")
_NAME, _REASON = 14, 13
_FIXED = _NAME + 6 + 9 + 8 + 2 + 3 + 2 + _REASON + 7 + 6
"""Columns of everything but the bar."""
NARROWEST = _FIXED + 8


@dataclass(frozen=True, slots=True)
class Row:
    """One organisation, now. `left` of `limit` calls may still be sent in this minute; `reason` is what the
    first in line waits for and `seconds` how long that takes yet, None where nobody knows.
    """

    name: str
    sent: int
    answered: int
    waiting: int
    left: int
    limit: int
    reason: str
    seconds: float | None
    retries: int
    refusals: Refusals
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One moment; `elapsed` and the times of `story` (when, what) are seconds from the start, each of which
    stands for `pace` seconds at Xero.
    """

    elapsed: float
    total: float
    pace: float
    rows: tuple[Row, ...]
    story: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Style:
    """What the terminal can show."""

    colours: bool = False
    unicode: bool = True

    def paint(self, text: str, code: str) -> str:
        """`text` in a colour or weight (an SGR code)."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and code else text


BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"


def table(frame: Frame, width: int, style: Style) -> list[str]:
    """The table, as wide as `width` lets it be useful and at least as `NARROWEST`."""
    bar = max(NARROWEST - _FIXED, min(WIDEST_BAR, width - _FIXED))
    left = f"{'minute left':<{bar + 3}}"
    head = (
        f"{'organisation':<{_NAME}}{'sent':>6}{'answered':>9}{'waiting':>8}  {left}  "
        f"{'waits for':<{_REASON}}{'retries':>7}{'429s':>6}"
    )
    return [
        style.paint(
            f"{clock(frame.elapsed)} of about {clock(frame.total)}; 1 s stands for {frame.pace:.3g} s", BOLD
        ),
        style.paint(head, DIM),
        *(_line(row, bar, style) for row in frame.rows),
        _totals(frame.rows, bar, style),
    ]


def story(frame: Frame, style: Style) -> list[str]:
    """What has happened and, dimmed, what is to come."""
    return [
        style.paint(f"{clock(at):>5}  {text}", "" if at <= frame.elapsed else DIM) for at, text in frame.story
    ]


def cut(line: str, width: int) -> str:
    """The first `width` characters that are seen, and everything that colours them."""
    parts = []
    for part in _SGR.split(line):
        seen = part if part.startswith("\x1b") else part[:width]
        width -= 0 if part.startswith("\x1b") else len(seen)
        parts.append(seen)
    return "".join(parts)


def seen(line: str) -> str:
    """`line` without its colours."""
    return _SGR.sub("", line)


def plain(frame: Frame) -> str:
    """The same in one line."""
    rows = frame.rows
    line = (
        f"{clock(frame.elapsed):>5}  sent {sum(row.sent for row in rows)}, "
        f"answered {sum(row.answered for row in rows)}, waiting {sum(row.waiting for row in rows)}, "
        f"retries {sum(row.retries for row in rows)}, 429s {_429s(_sum(rows))}"
    )
    held = [f"{row.name} {row.waiting} for {waits_for(row)}" for row in rows if row.waiting]
    return f"{line}; {', '.join(held)}" if held else line


def waits_for(row: Row) -> str:
    """What the first in line waits for, and how long yet."""
    if row.reason == "concurrent":
        return "a free slot"
    if not row.reason or row.seconds is None:
        return row.reason
    return f"{row.reason} {row.seconds:.1f} s"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02}"


def _line(row: Row, bar: int, style: Style) -> str:
    name = f"{row.name} *" if row.shared else row.name
    filled = min(bar, max(row.left > 0, row.left * bar // row.limit))
    full, empty = ("█", "░") if style.unicode else ("#", ".")
    colour = RED if not row.left else YELLOW if row.left * 3 < row.limit else GREEN
    reason = f"{waits_for(row):<{_REASON}.{_REASON}}"
    offline = row.reason not in {"", "minute", "concurrent"}
    refused = f"{_429s(row.refusals):>6}"
    return (
        f"{name:<{_NAME}.{_NAME}}{row.sent:>6}{row.answered:>9}{row.waiting:>8}  "
        f"{style.paint(full * filled, colour)}{style.paint(empty * (bar - filled), DIM)}{row.left:>3}  "
        f"{style.paint(reason, RED if offline else '')}{row.retries:>7}"
        f"{style.paint(refused, RED if row.refusals.own else YELLOW if row.refusals.met else '')}"
    )


def _totals(rows: tuple[Row, ...], bar: int, style: Style) -> str:
    line = (
        f"{'all':<{_NAME}}{sum(row.sent for row in rows):>6}{sum(row.answered for row in rows):>9}"
        f"{sum(row.waiting for row in rows):>8}{'':{bar + 7 + _REASON}}"
        f"{sum(row.retries for row in rows):>7}{_429s(_sum(rows)):>6}"
    )
    return style.paint(line, BOLD)


def _sum(rows: tuple[Row, ...]) -> Refusals:
    return Refusals(sum(row.refusals.own for row in rows), sum(row.refusals.met for row in rows))


def _429s(refusals: Refusals) -> str:
    """A star marks those met because of somebody else."""
    if not refusals.met:
        return str(refusals.own)
    return f"{refusals.own}+{refusals.met}*" if refusals.own else f"{refusals.met}*"
