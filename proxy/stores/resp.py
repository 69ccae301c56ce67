"""Version 2 of Redis's protocol, as far as scripts need it: commands of bytes, and what is answered to them.

https://redis.io/docs/latest/develop/reference/protocol-spec/

The reader of `hiredis` is no substitute: it takes room for as many items as an array announces, which 13
bytes make a billion, holds as much as is sent, and does not look whether a string ends where it said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

END = b"\r\n"
LONGEST_REPLY = 1 << 20
"""A reply of more bytes than this is none of ours."""
DEEPEST = 4
"""So far are arrays within arrays read."""

Reply = bytes | int | None | list["Reply"]


@dataclass(frozen=True, slots=True)
class Refused:
    """The server's word on why it did not do as asked; it can quote what it was asked."""

    text: str


class _MoreToCome(Exception):
    """A reply has not arrived as a whole."""


def packed(command: Sequence[bytes]) -> bytes:
    """A command on its way."""
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


class Replies:
    """What a server answers, as it arrives."""

    __slots__ = ("_arrived",)

    def __init__(self) -> None:
        self._arrived = b""

    def read(self, octets: bytes) -> list[Reply | Refused]:
        """All replies that are whole now. Raises ValueError where it is something else, and from then on."""
        arrived = self._arrived + octets if self._arrived else octets
        replies, place = list[Reply | Refused](), 0
        try:
            while place < len(arrived):
                if arrived[place] == ord("-"):
                    end = _line(arrived, place)
                    replies.append(Refused(arrived[place + 1 : end].decode("utf-8", "replace")))
                    place = end + 2
                else:
                    reply, place = _reply(arrived, place, DEEPEST)
                    replies.append(reply)
        except _MoreToCome:
            if len(arrived) - place > LONGEST_REPLY:
                raise ValueError("a reply without an end") from None
        self._arrived = arrived[place:]
        return replies


def _line(arrived: bytes, place: int) -> int:
    """Where the line ends that begins here."""
    if (end := arrived.find(END, place)) < 0:
        raise _MoreToCome
    return end


def _reply(arrived: bytes, place: int, depth: int) -> tuple[Reply, int]:
    """The reply that begins here, and where the next one does."""
    end = _line(arrived, place)
    kind, line = arrived[place], arrived[place + 1 : end]
    if kind == ord("+"):
        return line, end + 2
    number, place = int(line), end + 2  # which raises ValueError
    if kind == ord(":"):
        return number, place
    if kind not in b"$*":
        raise ValueError("no reply to a script")
    if number < 0:
        return None, place
    if kind == ord("$"):
        end = place + number
        if len(arrived) < end + 2:
            raise _MoreToCome
        if arrived[end : end + 2] != END:
            raise ValueError("a string of another length")
        return arrived[place:end], end + 2
    if not depth:
        raise ValueError("arrays without end")
    items = list[Reply]()
    for _ in range(number):
        item, place = _reply(arrived, place, depth - 1)
        items.append(item)
    return items, place
