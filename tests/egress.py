"""A real HTTP proxy on the way to Xero for the tests: Debian's tinyproxy."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import free_port

MISSING = "there is no tinyproxy; apt-get install tinyproxy-bin gives one"


@dataclass
class Egress:
    """A proxy that runs. `port` is where; `log` is what it said once it has ended."""

    port: int
    log: str = ""

    @property
    def asked_for(self) -> list[str]:
        """The hosts and ports to which a way was wanted."""
        return re.findall(r"CONNECT (\S+:[0-9]+) HTTP/1", self.log)


@contextlib.contextmanager
def tinyproxy(login: str = "", refuses: str = "") -> Iterator[Egress]:
    """Run one until the end of the block, for whoever says `login` (user and password) and for all hosts but
    what matches `refuses`. A test is left out where there is none, unless CI wants all tools.
    """
    binary = shutil.which("tinyproxy")
    if binary is None:
        (pytest.fail if os.environ.get("DEPLOY_TOOLS") == "required" else pytest.skip)(MISSING)
    with tempfile.TemporaryDirectory() as made:
        folder, egress = Path(made), Egress(free_port())
        lines = [f"Port {egress.port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20", "LogLevel Info"]
        lines.append("Allow 127.0.0.1")
        if login:
            lines.append(f"BasicAuth {login}")
        if refuses:
            (folder / "filter").write_text(refuses + "\n")
            lines.append(f'Filter "{folder / "filter"}"')
        (folder / "conf").write_text("\n".join(lines) + "\n")
        command = [binary, "-d", "-c", str(folder / "conf")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        told = []
        for line in process.stdout:  # its end, where it dies
            told.append(line)
            if "Accepting connections" in line:
                break
        else:
            pytest.fail(f"tinyproxy does not start: {''.join(told[-5:])}")
        try:
            yield egress
        finally:
            process.terminate()
            egress.log = process.communicate()[0]
