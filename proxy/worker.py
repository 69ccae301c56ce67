"""A thread that does what would keep the event loop waiting, one call after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """One daemon thread: a disk that hangs must not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, or what it raised. It is made even where nobody waits for it any more."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        self._calls.put((call, future))
        return await asyncio.wrap_future(future)

    def stop(self, last: Callable[[], None] = lambda: None) -> None:
        """End the thread when all calls so far are done, and `last`."""
        self._calls.put((last, Future()))
        self._calls.put(None)

    def _run(self) -> None:
        while (order := self._calls.get()) is not None:
            call, future = order
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                future.set_exception(error)
