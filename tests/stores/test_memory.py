"""The memory store never suspends, so its decisions are atomic."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Permit, Settlement
from proxy.core.model import HoldKey, Scope
from tests.stores.contract import ASK
from tests.stores.stands import MemoryStand
from tests.strict_xero import MAINTENANCE, OK

T = TypeVar("T")


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it suspended")


def test_no_call_suspends(tmp_path: Path) -> None:
    stand = MemoryStand(Caps(), tmp_path)
    at_once(stand.start())
    permit = at_once(stand.store.acquire(ASK))
    assert isinstance(permit, Permit)
    assert isinstance(stand.store.acquire_now(ASK), Permit)
    at_once(stand.store.settle(permit, Settlement(OK, True, stand.now)))
    at_once(stand.store.clear(HoldKey(Scope.API, api="accounting")))
    at_once(stand.store.close())


def test_the_jitter_of_a_backoff_is_the_stores_randomness(tmp_path: Path) -> None:
    def backoff(seed: int) -> float:
        stand = MemoryStand(Caps(), tmp_path, seed)
        permit = at_once(stand.permit())
        (change,) = at_once(stand.answered(permit, MAINTENANCE))
        return change.until - stand.now

    assert backoff(1) == backoff(1)
    assert len({backoff(seed) for seed in range(5)}) == 5
