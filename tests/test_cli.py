"""The command line in this process; `tests/e2e/test_process.py` runs it as an operator does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__
from proxy.cli import main


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("XERO_PROXY_")]:
        monkeypatch.delenv(name)


def test_check_prints_every_setting_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("XERO_PROXY_LISTEN=127.0.0.1:8080\n")
    assert printed.err == ""


@pytest.mark.parametrize("command", ["check", "serve", "demo"])
def test_bad_settings_end_every_command_with_2(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XERO_PROXY_QUEUE_LIMIT", "c4n4ry")
    monkeypatch.setenv("XERO_PROXY_QEUE_LIMIT", "c4n4ry")
    assert main([command]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "XERO_PROXY_QUEUE_LIMIT must be" in printed.err
    assert "XERO_PROXY_QEUE_LIMIT is no setting; did you mean XERO_PROXY_QUEUE_LIMIT?" in printed.err
    assert "c4n4ry" not in printed.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["serve", "--help"], 0),
        ([], 2),
        (["fly"], 2),
        (["serve", "x"], 2),
    ],
)
def test_words_that_are_no_command_end_with_2(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert bool(printed.err) == (code == 2)


def test_the_help_of_serve_says_where_the_settings_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "`xero-proxy check` prints all of them" in said
    assert "README's chapter Settings" in said
    assert "\n## Settings\n" in Path("README.md").read_text("utf-8")


def test_python_runs_the_package_as_the_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "proxy", "--version"], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout.decode()) == (0, f"xero-proxy {__version__}\n")
    assert subprocess.run([sys.executable, "-m", "proxy"], capture_output=True, check=False).returncode == 2


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"xero-proxy {__version__}\n"
