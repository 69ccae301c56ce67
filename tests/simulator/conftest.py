"""A simulator on a free port that ends with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.simulator.options import Options
from proxy.simulator.server import Simulator
from tests.simulator.sockets import Start


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[Simulator] = []

    async def begin(**options: Any) -> Simulator:
        simulator = Simulator(Options(**options))
        running.append(simulator)
        await simulator.start()
        return simulator

    yield begin
    for simulator in running:
        await simulator.close()
