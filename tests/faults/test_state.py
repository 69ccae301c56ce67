"""The state file: a disk that fails, a file that is damaged, somebody else's, or of another release."""

from __future__ import annotations

import json
import resource
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import put
from tests.e2e.test_process import run
from tests.faults.processes import marked, origin, sidecar

OFFLINE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 27\r\n\r\n"
    b"The Organisation is offline"
)


async def test_a_disk_for_state_that_is_full(tmp_path: Path) -> None:
    """Everybody is served as before; `xero_proxy_store_up` is 0, one line says why, and one that it is over.
    With room again what was missed is written. A start goes on from what is there.
    """
    async with origin() as xero:
        async with sidecar(xero.url, state_file=tmp_path / "state.db") as process:
            await process.ask(marked("before"))
            no_bound = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, no_bound[1]))
            full = [await process.ask(marked(f"full-{number}")) for number in range(5)]
            (away,) = await process.logged("store_away")
            status = json.loads(await process.admin("/status"))["store"]
            assert await process.count("store_up", kind="sqlite") == 0
            assert await process.count("store_errors_total", reason=away["reason"]) >= 1
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, no_bound)
            await process.logged("store_back")
            assert await process.count("store_up", kind="sqlite") == 1
        async with sidecar(xero.url, state_file=tmp_path / "state.db", first="ulimit -f 0") as process:
            await process.logged("store_away")
            (tenant,) = json.loads(await process.admin("/status"))["tenants"]
    assert {reply.status for reply in full} == {200}
    assert away["reason"] in {"full", "io"}
    assert status == {"kind": "sqlite", "up": False, "trouble": away["reason"], "replicas": 1}
    assert tenant["day_remaining"] == 5000 - 6


async def test_a_damaged_state_file(tmp_path: Path) -> None:
    """It is moved aside under a name that a log line has, and nobody is sent to before a minute has passed
    since its last write.
    """
    path = tmp_path / "state.db"
    path.write_bytes(b"\xff" * 10_000)
    settings: dict[str, Any] = {"state_file": path, "minute_window_seconds": 3600}
    async with origin() as xero, sidecar(xero.url, **settings) as process:
        (line,) = await process.logged("store_damaged")
        refused = await process.ask(marked("soon", wait=1))
    assert line["moved_to"].startswith(f"{path}.damaged-")
    assert refused.class_ == "refused_minute"
    assert not xero.executed


async def test_two_processes_with_one_state_file(tmp_path: Path) -> None:
    """The second ends with 1 and says that another process has the file; the first goes on."""
    async with origin() as xero, sidecar(xero.url, state_file=tmp_path / "state.db") as first:
        async with run("serve", upstream=xero.url, state_file=tmp_path / "state.db") as second:
            code, out, _ = await second.ends()
        assert code == 1
        assert "another process has the state file" in json.loads(out.splitlines()[-1])["reason"]
        assert (await first.ask(marked("first"))).status == 200


@pytest.mark.parametrize("command", ["serve", "check"])
async def test_a_state_file_that_cannot_be_written(command: str) -> None:
    """Refused with 2 and the name of the setting, before anything else."""
    async with run(command, state_file="/nowhere/at/all/state.db") as process:
        code, _, err = await process.ends()
    assert code == 2
    assert "XERO_PROXY_STATE_FILE must be a file" in err


async def test_a_state_file_of_a_later_release(tmp_path: Path) -> None:
    """Refused with 2 and left as it is."""
    path = tmp_path / "state.db"
    async with origin() as xero:
        async with sidecar(xero.url, state_file=path):
            pass
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
        before = path.read_bytes()
        async with run("serve", upstream=xero.url, state_file=path) as process:
            code, out, _ = await process.ends()
    assert code == 2
    assert "later release: version 99" in json.loads(out.splitlines()[-1])["reason"]
    assert path.read_bytes() == before


async def test_a_restart_beside_an_organisation_that_is_offline(tmp_path: Path) -> None:
    """The hold is kept, for a minute at most; a write that came in under a key of its own is known again."""
    async with origin() as xero:
        xero.say["offline"] = OFFLINE
        settings: dict[str, Any] = {"state_file": tmp_path / "state.db"}
        async with sidecar(xero.url, **settings) as process:
            assert (await process.ask(marked("offline", wait=1))).class_ == "refused_offline"
            await process.ask(put(b"{}", b"Idempotency-Key: one", b"Xero-Tenant-Id: t2"))
        async with sidecar(xero.url, **settings) as process:
            held = await process.ask(marked("held", wait=1))
            (hold,) = json.loads(await process.admin("/status"))["holds"]
            (line,) = await process.logged("store_restored")
    assert (held.status, held.class_, held.body) == (503, "refused_offline", OFFLINE[-27:])
    assert 0 < hold["seconds"] <= 60
    assert (line["holds"], line["keys"]) == (1, 1)
    assert xero.executed.keys().isdisjoint({"held"})
