"""A thread beside the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.worker import Daemons, Worker


async def test_calls_are_made_in_their_order_and_beside_the_loop() -> None:
    worker, made = Worker("test"), list[int]()
    await asyncio.gather(*(worker.run(lambda number=number: made.append(number)) for number in range(100)))  # type: ignore[misc]  # a default binds it
    assert made == list(range(100))
    assert await worker.run(threading.get_ident) != threading.get_ident()
    worker.stop()


async def test_what_a_call_raises_is_raised_where_it_is_awaited_and_the_next_one_goes_on() -> None:
    worker = Worker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 / 0)
    assert await worker.run(lambda: 7) == 7
    worker.stop()


async def test_a_call_that_nobody_waits_for_any_more_is_made_all_the_same() -> None:
    worker, may, made = Worker("test"), threading.Event(), list[int]()

    def call() -> None:
        may.wait()
        made.append(1)

    waiting = asyncio.ensure_future(worker.run(call))
    await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    may.set()
    assert await worker.run(made.copy) == [1]
    worker.stop()


async def test_as_many_calls_as_there_are_threads_are_made_beside_each_other() -> None:
    daemons, may, loop = Daemons(2, "test"), threading.Event(), asyncio.get_running_loop()
    hanging = [loop.run_in_executor(daemons, may.wait) for _ in range(2)]
    late, given_up = (loop.run_in_executor(daemons, threading.get_ident) for _ in range(2))
    given_up.cancel()
    await asyncio.wait(hanging, timeout=0.01)
    assert not late.done()
    may.set()
    assert await asyncio.gather(*hanging) == [True, True]
    assert await late != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(daemons, lambda: 1 / 0)
