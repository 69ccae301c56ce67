"""Both ports at paths of this machine instead of TCP ports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from pathlib import Path

import pytest

from proxy.clock import Clock
from proxy.http.listener import Listener
from tests.sockets import downstream, ok, read_answer, request


def listener() -> Listener:
    return Listener(asyncio.Protocol, lambda: 0, Clock())


async def answer_at(path: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request())
    head, _ = await read_answer(reader)
    writer.close()
    return head


async def test_a_caller_is_answered_at_a_path_which_is_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "callers.sock"
    async with downstream(ok, at=str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert b" 200 " in await answer_at(str(path))
    assert not path.exists()


async def test_a_path_that_a_dead_process_left_is_used_again(tmp_path: Path) -> None:
    path = str(tmp_path / "callers.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    async with downstream(ok, at=path):
        assert b" 200 " in await answer_at(path)


async def test_a_path_where_somebody_listens_or_something_else_is_is_refused(tmp_path: Path) -> None:
    taken, file = tmp_path / "taken.sock", tmp_path / "file"
    file.write_text("content")
    one = listener()
    await one.start(str(taken), 0)
    for path in (taken, file):
        with pytest.raises(OSError, match="in use"):
            await listener().start(str(path), 0)
    one.close()
    assert file.read_text() == "content"


async def test_the_path_of_a_process_that_came_later_stays(tmp_path: Path) -> None:
    path = tmp_path / "callers.sock"
    one, two = listener(), listener()
    await one.start(str(path), 0)
    path.unlink()
    await two.start(str(path), 0)
    one.close()
    assert path.exists()
    two.close()
    assert not path.exists()


async def test_a_path_whose_listener_accepts_nobody_any_more_is_refused_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "stuck.sock")
    with socket.socket(socket.AF_UNIX) as stuck, contextlib.ExitStack() as waiting:
        stuck.bind(path)
        stuck.listen(0)
        for _ in range(2):
            caller = waiting.enter_context(socket.socket(socket.AF_UNIX))
            caller.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                caller.connect(path)
        with pytest.raises(OSError, match="in use"):
            await listener().start(path, 0)
