"""The whole demo: in virtual time where that can be, as a program with signals and ports elsewhere."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TextIO

import orjson
import pytest

from config.settings import read_settings
from proxy.cli import main
from proxy.clock import Clock
from proxy.demo.run import demo
from proxy.demo.terminal import Lines
from proxy.log import Log

ANY_PORT = {"XERO_PROXY_LISTEN": "127.0.0.1:0", "XERO_PROXY_ADMIN_LISTEN": "127.0.0.1:0"}
PROGRAM = [sys.executable, "-c", "import sys; from proxy.cli import main; sys.exit(main())", "demo"]
ESCAPE = "\x1b"


async def played(
    tmp_path: Path, *, seconds: float = 40.0, interrupt_at: float | None = None, **environ: str
) -> tuple[bool, str, list[dict[str, object]]]:
    """Whether a whole demo kept its promises, what it printed, and the lines of the sidecar's log."""
    stream, path, stop, clock = io.StringIO(), tmp_path / "demo.log", asyncio.Event(), Clock()
    if interrupt_at is not None:
        clock.call_at(clock.now() + interrupt_at, stop.set)
    with path.open("wb") as file:
        log = Log(clock.wall, descriptor=file.fileno())
        settings = read_settings({**ANY_PORT, **environ})
        kept = await demo(settings, seconds, Lines(stream), stop, log, str(path))
        assert log.close(5.0)
    return kept, stream.getvalue(), [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.looptime
async def test_every_request_is_answered_without_a_429_of_our_own_or_a_write_done_twice(
    tmp_path: Path,
) -> None:
    kept, text, logged = await played(tmp_path)
    assert kept
    summary = text.rpartition("\n\n")[2]
    sent = int(re.findall(r"Sent +(\d+) requests, [1-9]\d* of them writes: all answered", summary)[0])
    assert re.search(r"Waited +median \d+\.\d s, longest \d+\.\d s; the urgent ones \d\.\d s", summary)
    assert re.search(r"Retried +[1-9]\d* times; writes that Xero executed twice: 0\n", summary)
    assert re.search(r"429s +0 of our own; [1-9] met because of somebody else", summary)
    assert "60 of 60 calls in the fullest minute, 5 at once" in summary
    assert float(re.findall(r"used (\d+\.\d)% of it", summary)[0]) > 95
    assert Counter(line["event"] for line in logged)["request"] == sent
    assert any(line.get("reason") == "offline" and line.get("action") == "begun" for line in logged)


@pytest.mark.looptime
async def test_plain_lines_tell_what_happens_and_fit_a_file(tmp_path: Path) -> None:
    _, text, _ = await played(tmp_path, seconds=12.0)
    assert ESCAPE not in text
    first, second, third, fourth = text.splitlines()[:4]
    assert "6 organisations" in first
    assert "Time is scaled: a minute lasts 1.8 s" in second
    assert "60 calls a minute, 5 at once" in third
    assert re.search(r"Status page .*http://127\.0\.0\.1:\d+/", fourth)
    assert "Kauri Timber goes offline" in text
    assert re.search(r"0:03  sent \d+, .*Kauri Timber \d+ for offline \d\.\d s", text)
    assert max(len(line) for line in (first, second, third, fourth)) < 80


@pytest.mark.looptime
async def test_a_request_that_gets_no_success_fails_the_demo(tmp_path: Path) -> None:
    kept, text, _ = await played(tmp_path, XERO_PROXY_RETRY_ATTEMPTS="1")
    assert not kept
    assert re.search(r"answered, [1-9]\d* failed\n", text)


@pytest.mark.looptime
async def test_an_interrupted_demo_answers_who_waits_at_once_and_sums_up(tmp_path: Path) -> None:
    before = Clock().now()
    kept, text, logged = await played(tmp_path, interrupt_at=5.0)
    assert kept
    assert Clock().now() - before < 7.0
    sent, given_up = re.findall(r"Sent +(\d+) requests, .* (\d+) given up\n", text)[0]
    assert int(given_up) > 100
    assert Counter(line["event"] for line in logged)["request"] == int(sent)


def begun(stdout: int | TextIO = subprocess.PIPE, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        PROGRAM, env={**os.environ, **ANY_PORT, **environ}, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_ends_it_with_the_summary_and_0(tmp_path: Path) -> None:
    process = begun(TMPDIR=str(tmp_path))
    assert process.stdout is not None
    while "sent" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "writes that Xero executed twice: 0\n" in out
    (path,) = tmp_path.iterdir()
    assert out.endswith(f"{path}\n")
    assert '"event":"listening"' in path.read_text()


@pytest.mark.parametrize("name", sorted(ANY_PORT))
def test_a_port_that_is_taken_names_the_variable_and_ends_with_1(name: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = begun(subprocess.PIPE, TMPDIR=str(tmp_path), **{name: address})
        out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"xero-proxy demo: cannot listen on {address}: Address already in use. {name} ")
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_ends_it_with_1_and_a_word(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = begun(full, TMPDIR=str(tmp_path))
        _, err = process.communicate()
    assert (process.returncode, err) == (1, "xero-proxy demo: cannot write: No space left on device\n")


def test_bad_settings_are_named_and_end_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XERO_PROXY_LISTEN", "nowhere")
    assert main(["demo"]) == 2
    assert "XERO_PROXY_LISTEN" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["3", "181", "nan", "soon"])
def test_a_length_that_makes_no_sense_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--seconds", seconds])
    assert stopped.value.code == 2
    assert "--seconds" in capsys.readouterr().err
