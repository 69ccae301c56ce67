"""How old a key can be that a process has not seen, by what the one before it wrote down."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.core.answers.idempotency import KEY_LIFE_SECONDS, UNSEEN_SECONDS, Keys
from proxy.stores.sqlite import GATHER_SECONDS
from tests.stores.hand_clock import HandClock
from tests.stores.stands import SqliteStand
from tests.stores.test_sqlite import CAPS, after, begun

KEY = "app", b"key"


async def restarted(path: Path, seconds: float, *, set_by: float = 0.0) -> SqliteStand:
    """A process that knows of no keys before its start, over the file of one that was killed before."""
    stand = await begun(path)
    await stand.permit()
    await stand.pass_seconds(GATHER_SECONDS)
    await stand.killed()
    await stand.close()
    clock = HandClock(5.0, stand.clock.walled + seconds + set_by)
    stand = SqliteStand(CAPS, path, clock=clock)
    stand.keys = stand.sqlite._keys = Keys(clock.elapsed())
    await stand.start()
    return stand


async def test_a_key_that_the_file_does_not_have_was_used_after_its_last_write_at_the_earliest(
    tmp_path: Path,
) -> None:
    stand = await restarted(tmp_path, 20.0)
    age = stand.clock.elapsed() - stand.keys.first_used(*KEY, stand.clock.elapsed())
    assert age == pytest.approx(20.0)
    await stand.pass_seconds(UNSEEN_SECONDS)
    now = stand.clock.elapsed()
    assert stand.keys.first_used("app", b"other", now) == now
    await stand.close()


async def test_where_the_wall_clock_was_set_back_no_key_is_known_to_be_young(tmp_path: Path) -> None:
    stand = await restarted(tmp_path, 20.0, set_by=-3600.0)
    now = stand.clock.elapsed()
    assert now - stand.keys.first_used(*KEY, now) >= KEY_LIFE_SECONDS
    await stand.close()


async def test_a_key_in_the_file_is_as_old_as_the_clock_that_went_on_says(tmp_path: Path) -> None:
    stand = await begun(tmp_path)
    stand.keys.first_used(*KEY, stand.clock.elapsed())
    await stand.permit()
    stand.clock.walled += 200.0  # the machine was paused
    await stand.pass_seconds(GATHER_SECONDS)
    stand = await after(stand, 10.0)
    used = stand.keys.seen(*KEY, stand.clock.elapsed())
    assert used is not None
    assert stand.clock.elapsed() - used == pytest.approx(210.0, abs=1.0)
    await stand.close()
