"""No text of a peer's keeps a pattern busy: a process that backtracks answers nobody, not even a signal."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SECONDS = 60
"""Of the processor's time for all patterns; they take a tenth of it."""
CAUGHT_SECONDS = 1


def attack(seconds: int, *patterns: str) -> tuple[int, str]:
    """Exit code, and the pattern that was tried last."""
    command = [sys.executable, "-m", "tests.patterns", str(seconds), *patterns]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout.splitlines()[-1]


def test_every_pattern_meets_long_adversarial_texts_in_linear_time() -> None:
    assert attack(SECONDS) == (0, "done")


@pytest.mark.parametrize(
    "pattern",
    [
        r"[ \t]*([!#a-z]+)(?:[ \t]*;[ \t]*(?:[!#a-z]+)?)*[ \t]*(?:,|$)",
        r"(a|a)*b",
        r'x"\s*\)?\s*',
        r"[a-z]+@",
    ],
)
def test_a_pattern_that_backtracks_is_caught(pattern: str) -> None:
    assert attack(CAUGHT_SECONDS, pattern) in {(-signal.SIGXCPU, pattern), (-signal.SIGKILL, pattern)}
