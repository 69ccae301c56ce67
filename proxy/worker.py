"""Threads that do what would keep the event loop waiting, and never the process from ending.

Python waits at its end for every thread that is no daemon, and `asyncio.run` for those of the loop's own
executor: a disk or a resolver that hangs would hold both up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Daemons(ThreadPoolExecutor):
    """An executor of at most `most` daemon threads, for one event loop. It is one of asyncio's kind, as that
    takes no other for its own, but starts its threads itself.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, name)
        self._name = name
        self._more = most
        self._free = Semaphore(0)
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a thread call `fn`; one that is cancelled before its turn is never called."""
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        if not self._free.acquire(blocking=False) and self._more:
            self._more -= 1
            Thread(target=self._run, name=self._name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nobody."""

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                    future.set_exception(error)
            del future, call  # or both stay until the next ones are there
            self._free.release()


class Worker:
    """One daemon thread that makes one call after the other."""

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
