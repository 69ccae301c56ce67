"""What an answer means counts as soon as that is known, be its last byte yet to come: its hold begins or ends
and its limits are learned, so that the others need not wait for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

from proxy.clock import Clock, Timer
from proxy.core.answers.classify import ResponseTable, foresee
from proxy.core.model import Execution, ResponseClass
from proxy.core.wire.fields import Fields

REST_SECONDS = 0.05
"""An answer whose rest comes within this time is accounted for once, when all of it is there."""

Account = Callable[[ResponseClass, Fields, float], Coroutine[None, None, None]]
"""Accounts for an answer's class, its fields and when its head was read."""


class Hearing:
    """Listens to one answer of the API family `api` that comes piece by piece."""

    __slots__ = ("_account", "_accounting", "_api", "_clock", "_table", "_timer")

    def __init__(self, table: ResponseTable, clock: Clock, api: str, account: Account) -> None:
        self._table = table
        self._clock = clock
        self._api = api
        self._account = account
        self._timer: Timer | None = None
        self._accounting: asyncio.Task[None] | None = None

    def heard(self, status: int, fields: Fields, first: bytes, head_at: float) -> bool | None:
        """As `Heard`. What says that nothing was done is not waited for to its end."""
        row = foresee(self._table, status, fields, first, self._api)
        if row is None:
            return None
        if row.execution is Execution.REJECTED:
            return True
        due = partial(self._begin, row, fields, head_at)
        self._timer = self._clock.call_at(self._clock.now() + REST_SECONDS, due)
        return False

    def close(self) -> None:
        """Account for nothing that is not accounted for yet."""
        if self._timer is not None:
            self._timer.cancel()
        if self._accounting is not None:
            self._accounting.cancel()

    def _begin(self, row: ResponseClass, fields: Fields, head_at: float) -> None:
        self._accounting = asyncio.ensure_future(self._account(row, fields, head_at))
