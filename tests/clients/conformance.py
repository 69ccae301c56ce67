"""The same calls to a server direct and through a sidecar, and what is different in the answers.

What differs of itself between two runs is made alike first: ids get numbers in the order of their appearance,
and times and tokens are blanked.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.clients.driver import TENANT
from tests.e2e.harness import MARKS, Caller, Reply

ADDED = sorted(MARKS)
"""The header fields that every response through the sidecar has besides, as documented."""

FRAMING = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date"}
"""What belongs to a connection and not to the message; the bodies are compared whole."""

BLANKED = (
    rb"/Date\(-?\d+[^)]*\)/",
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d:\d\d)?",
    rb"INV-[0-9A-F]{8}",
    rb'(?<="access_token":")[^"]+',
    rb'(?<="refresh_token":")[^"]+',
    rb'(?<="access_token": ")[^"]+',
    rb'(?<="refresh_token": ")[^"]+',
)
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
JSON = ("Accept", "application/json")


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `{name}` in the target or body is what an earlier call kept under that name: the first value
    of a member of its answer.
    """

    method: str
    target: str
    body: object = None
    headers: tuple[tuple[str, str], ...] = (JSON,)
    keeps: tuple[str, str] = ("", "")

    def raw(self, kept: dict[str, str]) -> bytes:
        """The bytes to send."""
        given = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        target, body = _filled(self.target.encode(), kept), _filled(given, kept)
        fields = {"authorization": "Bearer opaque", "xero-tenant-id": TENANT}
        fields |= {name.lower(): value for name, value in self.headers}
        if self.body is None:
            body = b""
        else:
            fields["content-length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        return b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n%s" % (self.method.encode(), target, head, body)


def _filled(value: bytes, kept: dict[str, str]) -> bytes:
    for name, found in kept.items():
        value = value.replace(b"{%s}" % name.encode(), found.encode())
    return value


@dataclass(slots=True)
class Conversation:
    """Calls to one address, each on a connection of its own."""

    url: str
    kept: dict[str, str] = field(default_factory=dict)
    ids: dict[bytes, bytes] = field(default_factory=dict)

    async def ask(self, call: Call) -> Reply:
        """One call's answer. ConnectionError or IncompleteReadError where none comes."""
        address = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            reply = await Caller(reader, writer).ask(call.raw(self.kept))
        finally:
            writer.close()
            await writer.wait_closed()
        name, member = call.keeps
        if found := re.search(rb'"%s":\s*"([^"]+)"' % member.encode(), reply.body) if name else None:
            self.kept[name] = found[1].decode()
        return reply

    def alike(self, value: bytes) -> bytes:
        """Without what differs of itself."""
        for pattern in BLANKED:
            value = re.sub(pattern, b"-", value)
        return UUID.sub(lambda found: self.ids.setdefault(found[0].lower(), b"id%d" % len(self.ids)), value)


@dataclass(slots=True)
class Comparison:
    """What came of the calls: the status of each as it was answered direct, and what was different."""

    statuses: list[int] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        statuses = ", ".join(
            f"{times} × {status}" for status, times in sorted(Counter(self.statuses).items())
        )
        same = len(self.statuses) - len(self.different)
        added = ", ".join(name.decode() for name in ADDED)
        return f"{len(self.statuses)} calls ({statuses}), {same} answered alike; added to each: {added}"


async def compare(direct: str, through: str, calls: Iterable[Call]) -> Comparison:
    """Make each call at both addresses."""
    found, one, other = Comparison(), Conversation(direct), Conversation(through)
    for call in calls:
        plain, passed = await one.ask(call), await other.ask(call)
        found.statuses.append(plain.status)
        if what := _difference(_shape(one, plain), _shape(other, passed)):
            found.different.append(f"{call.method} {call.target}: {what}")
    return found


Shape = tuple[int, bytes, Counter[tuple[bytes, bytes]], bytes]


def _shape(conversation: Conversation, reply: Reply) -> Shape:
    fields = Counter(
        (name.lower(), conversation.alike(value))
        for name, value in reply.headers
        if name.lower() not in FRAMING
    )
    return reply.status, reply.reason, fields, conversation.alike(reply.body)


def _difference(plain: Shape, passed: Shape) -> str:
    """What the sidecar changed, or nothing: it may add each of `ADDED` once."""
    added = passed[2] - plain[2]
    if plain[:2] != passed[:2]:
        return f"{plain[:2]} became {passed[:2]}"
    if removed := plain[2] - passed[2]:
        return f"without {dict(removed)}, with {dict(added)}"
    if sorted(name for name, _ in added.elements()) != ADDED:
        return f"with {dict(added)}"
    return "" if plain[3] == passed[3] else f"{plain[3][:200]!r} became {passed[3][:200]!r}"
