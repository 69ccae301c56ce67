"""Real servers, one of each for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests import servers


@pytest.fixture(scope="session")
def valkey() -> Iterator[redis.Redis]:
    """A client of a Valkey server that a test may empty."""
    with servers.valkey_server() as server, server.client as client:
        yield client


@pytest.fixture(scope="session")
def debians() -> Iterator[redis.Redis]:
    """A client of Debian's Redis, where the machine has it."""
    binary = servers.redis()
    if binary is None:
        pytest.skip("apt-get install redis-server")
    with servers.server(binary) as server, server.client as client:
        yield client


@pytest.fixture
def server() -> Iterator[servers.Server]:
    """A server of the test's own, to be broken."""
    with servers.valkey_server() as one:
        yield one
