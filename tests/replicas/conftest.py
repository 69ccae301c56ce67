"""A server for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Server, valkey_server


@pytest.fixture
def shared() -> Iterator[Server]:
    with valkey_server() as one:
        yield one
