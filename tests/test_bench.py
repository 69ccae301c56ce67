"""The parts of `make bench`, in sizes that take no time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.simulator.windows import WindowKind
from tests import servers
from tests.bench import added, decide, stores, waiting
from tests.bench.interpreter import interpreter
from tests.bench.organisation import Setting
from tests.bench.report import table, verdict
from tests.bench.share import CLIENTS, OURS, ideal_seconds, limit_used, measure

ALONE = Setting(WindowKind.ROLLING, foreign_per_minute=0.0)


def test_a_perfect_scheduler_sends_sixty_at_once_and_the_rest_a_window_later() -> None:
    assert ideal_seconds(1, 0.25) == 0.0
    assert ideal_seconds(60, 0.25) == pytest.approx(11 * 0.25)
    assert ideal_seconds(61, 0.25) == 60.0
    assert ideal_seconds(600, 0.25) == pytest.approx(540 + 11 * 0.25)


def test_a_window_that_is_always_full_is_used_whole() -> None:
    full = [60.0 * window for window in range(4) for _ in range(60)]
    assert limit_used(full, first=0.0, last=240.0) == 1.0
    assert limit_used(full[::2], first=0.0, last=240.0) == 0.5
    assert limit_used([-30.0] * 60, first=0.0, last=60.0) == 0.5


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_works_off_its_backlog(name: str) -> None:
    result = measure(CLIENTS[name], ALONE, calls=65, seed=1)
    assert result.accepted == 65
    assert 0.5 < result.share <= 1.0


@pytest.mark.parametrize("windows", WindowKind)
def test_ours_earns_no_429_where_nobody_else_calls(windows: WindowKind) -> None:
    assert measure(CLIENTS[OURS], Setting(windows, 0.0), calls=130, seed=2).refused == 0


def test_somebody_else_is_counted_too() -> None:
    beside = Setting(WindowKind.ROLLING, foreign_per_minute=24.0)
    assert measure(CLIENTS[OURS], beside, calls=130, seed=3).accepted > 130


def test_deciding_is_measured_with_the_lines_full() -> None:
    crowd = decide.Crowd(tenants=20, in_line=3)
    assert decide.decided(crowd, measured=200) > 0.0
    assert decide.scheduled(crowd, measured=200) > 0.0


def test_callers_wait_in_a_real_sidecar() -> None:
    idle, full = waiting.hold(callers=20, in_line=10)
    assert full.rss >= idle.rss > 0


def test_what_a_store_adds_is_measured_over_a_real_server(tmp_path: Path) -> None:
    with servers.valkey_server() as server:
        for opened in (stores.memory, stores.sqlite(tmp_path / "state.db"), stores.redis(server.url)):
            spent, cpu = asyncio.run(stores.measured(opened, seconds=0.1))
            assert len(spent) == 20
            assert cpu > 0.0


def test_what_a_store_adds_is_its_difference_to_memory_in_the_same_round() -> None:
    samples = {added.MEMORY: [0.5, 5.0, 0.6], "Redis": [0.8, 5.2, 1.1]}
    assert added.added(samples) == {added.MEMORY: 0.0, "Redis": pytest.approx(0.3)}


def test_a_descriptor_limit_that_cannot_be_raised_is_said() -> None:
    assert waiting.raise_descriptor_limit(10)
    assert not waiting.raise_descriptor_limit(10**9)


def test_a_table_reads_as_markdown() -> None:
    assert table(("", "µs"), [("deciding", "7")]).splitlines() == [
        "|          | µs |",
        "| -------- | -: |",
        "| deciding |  7 |",
    ]
    assert verdict("less", holds=False) == "- less: DOES NOT HOLD"
    assert "Python" in interpreter()
