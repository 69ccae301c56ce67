"""What all connections of callers share, and who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from proxy.call import Call
from proxy.clock import Clock
from proxy.core import heads
from proxy.core.model import Headers
from proxy.core.strict import Own
from proxy.deadlines import Deadlines

Handler = Callable[[Call], Awaitable[None]]
Refuse = Callable[[str, str, str], tuple[int, Headers, bytes]]
"""Makes the answer to a request that is refused, from a `Refusal`, a sentence for people, and the method,
empty where it is not known.
"""


class Connected(Protocol):
    """A caller's connection (`proxy.caller`, which imports this file)."""

    def close_if_idle(self) -> None:
        """Close unless a request is in hand."""

    def stop_waiting(self) -> None:
        """Wait no longer for the rest of a body."""

    def cut(self) -> None:
        """Close at once."""


@dataclass(slots=True)
class Reception:
    """What all callers' connections share. Timeouts are seconds."""

    handle: Handler
    refuse: Refuse
    crashed: Callable[[BaseException], None]
    clock: Clock
    deadlines: Deadlines
    idle_timeout: float
    head_timeout: float
    body_timeout: float
    write_timeout: float
    own: Own = field(default_factory=Own)
    draining: bool = False
    lines: heads.Lines = field(default_factory=heads.Lines)
    callers: set[Connected] = field(default_factory=set)
    left: set[asyncio.Task[None]] = field(default_factory=set)
    """Requests whose caller has gone: an attempt in flight is finished all the same."""
    empty: asyncio.Event = field(default_factory=asyncio.Event)

    def check_empty(self) -> None:
        """Note if no connection is left, and while draining no request either."""
        if not self.callers:
            self.lines.blocks.clear()
        if self.draining and not self.callers and not self.left:
            self.empty.set()

    def forget(self, task: asyncio.Task[None]) -> None:
        """Note that a request has ended whose caller had gone."""
        self.left.discard(task)
        self.check_empty()
