"""The wiring: what only the whole sidecar can show."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from proxy.core.wire.strict import Refusal
from tests.e2e.harness import MARKS, put, request, sidecar
from tests.sockets import origin


@pytest.mark.parametrize("kind", list(Refusal))
async def test_what_never_became_a_request_is_answered_counted_and_logged(kind: Refusal) -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        status, headers, body = proxy.car._refuse(kind, "A sentence.", "GET")
        assert status == kind.status
        assert b"A sentence." in body
        assert {name.lower() for name, _ in headers} >= set(MARKS)
        assert await proxy.count("requests_total", status=str(status)) == 1
    (line,) = proxy.lines()
    assert line["status"] == status


async def test_a_bug_is_a_500_that_says_nothing_and_a_line_that_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with origin() as seen, sidecar(str(seen.address)) as proxy:
        proxy.crashes = True
        with monkeypatch.context() as patch:
            patch.setattr(proxy.car._pipeline._attempts, "_decide", lambda *_: dict[str, str]()["c4n4ry"])
            reply = await proxy.ask(put(b"c4n4ry"))
            assert (reply.status, reply.class_, reply.attempts) == (500, "internal", 1)
            assert (reply.marks, reply.wait) == (list(MARKS), None)
            assert b"c4n4ry" not in reply.body
        assert (await proxy.ask(request())).status == 200
    requests = proxy.lines()
    assert [(line["class"], line["method"], line["tenant"]) for line in requests][:1] == [
        ("internal", "PUT", "t1")
    ]
    (line,) = proxy.lines("crashed")
    assert line["place"].startswith("KeyError at test_app.py:")
    assert "c4n4ry" not in proxy.text()


@pytest.mark.parametrize("which", ["listen", "admin_listen"])
async def test_a_port_in_use_is_named_and_the_other_port_given_back(which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            async with sidecar("http://127.0.0.1:1", **{which: f"127.0.0.1:{port}"}):
                pass


def run(script: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_is_not_needed_to_serve_is_not_imported() -> None:
    script = """
import sys, proxy.app
unneeded = {"cryptography", "proxy.simulator", "proxy.demo", "proxy.stores.redis", "redis"}
print(*sorted(unneeded & sys.modules.keys()))
"""
    assert run(script) == ""


def test_connections_that_have_ended_leave_memory_however_long_they_lasted() -> None:
    """Each leaves a cycle; and what has outlived some collections is looked at again."""
    script = """
import gc, weakref
from proxy.process import collect_garbage
class Cycle:
    def __init__(self):
        self.itself = self
gc.disable()
collect_garbage()
old = [Cycle() for _ in range(300_000)]
seen = [weakref.ref(each) for each in old[::1000]]
gc.collect(1)
del old
for _ in range(1_500_000):
    Cycle()
print(sum(each() is not None for each in seen))
"""
    assert run(script) == "0"
