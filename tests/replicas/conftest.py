"""A server for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import MISSING, Server, server, valkey


@pytest.fixture
def shared() -> Iterator[Server]:
    binary = valkey()
    if binary is None:
        pytest.fail(MISSING)
    with server(binary) as one:
        yield one
