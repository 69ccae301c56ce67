"""Any history, killed at any moment: the successor has no more than what was written allows."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.limits.decision import Ask, Limits, Permit, Settlement
from proxy.core.limits.holds import RESTORED_SECONDS
from proxy.core.model import Remaining, ResponseClass
from tests.stores.stands import SqliteStand
from tests.stores.test_sqlite import ASKS, after, begun, limits
from tests.strict_xero import LOST, MAINTENANCE, OFFLINE, OK, REFUSED

DUST = 1e-6
EXAMPLES = settings().max_examples

steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.6, 7.0]),
        st.sampled_from(["ask", "ask", "ask", "answer"]),
        st.sampled_from(ASKS),
        st.sampled_from([OK, OK, REFUSED, LOST, OFFLINE, MAINTENANCE]),
        st.none() | st.integers(0, 5),
        st.none() | st.integers(0, 20),
    ),
    max_size=40,
)


Step = tuple[float, str, Ask, ResponseClass, int | None, int | None]


@settings(max_examples=EXAMPLES // 2)
@given(steps, st.floats(0.0, 70.0))
def test_whenever_it_is_killed_its_successor_has_no_more_than_what_was_written_allows(
    history: list[Step], seconds: float
) -> None:
    async def killed(path: Path) -> None:
        stand = await begun(path)
        written = await lived(stand, history)
        then = stand.now + seconds
        stand = await after(stand, seconds)
        no_more_than(written, then, limits(stand), stand.now)
        await stand.close()

    with TemporaryDirectory() as folder:
        asyncio.run(killed(Path(folder)))


async def lived(stand: SqliteStand, history: list[Step]) -> Limits:
    """What the limits were when they were last written."""
    written, flying = deepcopy(limits(stand)), list[Permit]()
    for seconds, what, ask, row, minute, day in history:
        before = stand.count("store_operations_total", operation="write", outcome="ok")
        await stand.pass_seconds(seconds)
        if stand.count("store_operations_total", operation="write", outcome="ok") > before:
            written = deepcopy(limits(stand))
        if what == "ask" and isinstance(permit := await stand.store.acquire(ask), Permit):
            flying.append(permit)
        elif what == "answer" and flying:
            settlement = Settlement(row, row is not REFUSED, stand.now, Remaining(minute, day))
            await stand.store.settle(flying.pop(0), settlement)
    return written


def no_more_than(written: Limits, then: float, restored: Limits, now: float) -> None:
    for key, tenant in written.accounts.tenants.items():
        if tenant.minute.occupied(then):
            assert restored.accounts.tenants[key].minute.occupied(now) >= tenant.minute.occupied(then + DUST)
            assert restored.accounts.tenants[key].day.left(now) <= tenant.day.left(then)
    for app, window in written.accounts.apps.items():
        if window.occupied(then):
            assert restored.accounts.apps[app].occupied(now) >= window.occupied(then + DUST)
    for name, hold in written.holds.active.items():
        left = min(hold.until - then, RESTORED_SECONDS)
        assert restored.holds.active[name].until - now == pytest.approx(left, abs=1e-3)
