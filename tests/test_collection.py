"""The names of tests are the same in every process, so that they can be shared out among several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLLECT = """
import sys, time
import pytest
now, later = time.time, float(sys.argv[1])
time.time = lambda: now() + later
options = ["--collect-only", "-q", "-p", "no:cacheprovider"]
raise SystemExit(pytest.main([*options, "tests/core", "tests/stores"]))
"""


def test_the_names_of_tests_depend_neither_on_the_clock_nor_on_the_order_of_sets() -> None:
    collecting = [
        subprocess.Popen(
            [sys.executable, "-c", COLLECT, later],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": later},
            stdout=subprocess.PIPE,
            text=True,
        )
        for later in ("1", "100000")
    ]
    one, other = (process.communicate()[0].splitlines() for process in collecting)
    names = [line for line in one if "::" in line]
    assert len(names) > 500
    assert names == [line for line in other if "::" in line]
