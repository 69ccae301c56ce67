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

from config.settings import Settings, read_settings
from proxy.cli import main
from proxy.clock import Clock
from proxy.demo.run import demo
from proxy.demo.terminal import Lines
from proxy.observe.log import Log

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
        kept = await demo(settings, seconds, Lines(stream), stop, log)
        assert log.close(5.0)
    return kept, stream.getvalue(), [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.looptime
async def test_every_request_is_answered_without_a_429_of_our_own_or_a_write_done_twice(
    tmp_path: Path,
) -> None:
    kept, text, logged = await played(tmp_path)
    assert kept
    summary = text.rpartition("\n\n")[2]
    (total,) = re.findall(r"Sent +([\d,]+) requests, [1-9]\d* of them writes: all answered", summary)
    sent = int(total.replace(",", ""))
    waited = re.findall(r"median (\d+\.\d) s, longest (\d+\.\d) s; urgent \d+\.\d s, \d+\.\d s", summary)
    (median, longest), unscaled = (tuple(map(float, each)) for each in waited)
    assert unscaled == pytest.approx((median * 15, longest * 15), abs=1.5)
    assert re.search(r"Retried +[1-9]\d* times; writes that Xero executed twice: 0\n", summary)
    assert re.search(r"429s +0 of our own; [1-9]\d* met because of somebody else", summary)
    assert "60 of 60 calls in the fullest minute, 5 at once" in summary
    assert float(re.findall(r"used (\d+\.\d)% of it", summary)[0]) > 95
    assert Counter(line["event"] for line in logged)["request"] == sent
    assert any(line.get("reason") == "offline" and line.get("action") == "begun" for line in logged)


@pytest.mark.looptime
async def test_plain_lines_tell_what_happens_and_fit_a_file(tmp_path: Path) -> None:
    _, text, _ = await played(tmp_path, seconds=16.0)
    assert ESCAPE not in text
    told = text.partition("\n\n")[0]
    assert "6 organisations" in told
    assert "Time is scaled, here and on the page: 1 s stands for 37.5 s. A minute\n" in told
    assert "lasts 1.6 s, the pause after an outage 8 s (really 5 min),\n" in told
    assert "the longest wait 3.2 s (really 2 min)." in told
    assert "60 calls a minute, 5 at once" in told
    assert re.search(r"Status page .*http://127\.0\.0\.1:\d+/", told)
    assert "Kauri Timber goes offline" in text
    assert re.search(r"0:09  sent \d+, .*Kauri Timber \d+ for offline \d\.\d s", text)
    assert max(map(len, told.splitlines())) < 80


@pytest.mark.looptime
async def test_waits_and_holds_are_to_each_other_as_in_production(tmp_path: Path) -> None:
    kept, text, logged = await played(tmp_path, seconds=20.0)
    assert kept
    (told,) = re.findall(r"(\d+) were told at once: offline for longer than they could wait", text)
    refused = [line for line in logged if line.get("class") in {"offline", "refused_offline"}]
    assert len(refused) == int(told) > 20
    waited = [line for line in logged if line.get("limit") == "offline" and line["status"] == 200]
    assert len(waited) > 20
    begun = next(line for line in logged if line.get("reason") == "offline" and line.get("action") == "begun")
    settings = read_settings({})
    ratio = settings.max_wait_seconds / settings.offline_backoff_seconds
    assert begun["seconds"] == pytest.approx(10.0)
    assert max(float(str(line["queue_seconds"])) for line in waited) <= 10.0 * ratio


@pytest.mark.looptime
async def test_a_state_file_of_the_settings_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    await played(tmp_path, seconds=4.0, interrupt_at=1.0, XERO_PROXY_STATE_FILE=str(path))
    assert not path.exists()


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


def begun(stdout: int | TextIO = subprocess.PIPE, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        env={**os.environ, **ANY_PORT, **environ},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
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
    assert list(tmp_path.iterdir()) == [], "it leaves no files"


def test_what_failed_is_told_from_the_log_and_ends_with_1(tmp_path: Path) -> None:
    fails = {"TMPDIR": str(tmp_path), "XERO_PROXY_RETRY_ATTEMPTS": "1"}
    process = begun(subprocess.PIPE, "--seconds", "4", **fails)
    _, err = process.communicate()
    assert process.returncode == 1
    assert '"level":"warning"' in err
    assert '"level":"info"' not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("environ", "port"), [({}, 0), (dict.fromkeys(ANY_PORT, "127.0.0.1:4711"), 4711)])
def test_it_takes_free_ports_unless_it_is_told_which(
    environ: dict[str, str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []

    def run(settings: Settings, **_: object) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("proxy.demo.run_demo", run)
    for name, value in ({**environ, "XERO_PROXY_ADMIN_LISTEN": "127.0.0.1:0"} if environ else {}).items():
        monkeypatch.setenv(name, value)
    assert main(["demo"]) == 0
    assert (seen[0].listen.port, seen[0].admin_listen.port) == (port, 0)


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
    assert "argument --seconds: must be a number of seconds, 4 to 180" in capsys.readouterr().err
