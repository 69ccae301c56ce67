"""What a build needs where no registry of images can be reached: a base image and the locked wheels.

Both come from package registries and are kept in `build/`, which `make clean` empties.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.image.engine import ROOT, Engine, EngineError, unmount

BUILD = ROOT / "build"
WHEELS = BUILD / "wheels"
BASE = "xero-proxy-base"
RELEASE, PYTHON = "bookworm", "3.11"
"""The Debian release that the base is made from, and its Python, for which the wheels are."""
_PACKAGES = "ca-certificates,python3,python3-venv"
_LOCKS = ("requirements.lock", "deploy/build.lock")
_LEFT_OUT = ("dev", "usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache", "var/lib/apt/lists")


def import_base(engine: Engine) -> None:
    """Give the engine the image `BASE`: a minimal Debian with Python. The first time takes a minute."""
    archive = BUILD / f"{RELEASE}.tar"
    if not archive.exists():
        BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as name:
            system, unfinished = Path(name, "root"), Path(name, "tar")
            try:
                _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", RELEASE, str(system))
            finally:
                unmount(system)
            left_out = [f"--exclude=./{path}/*" for path in _LEFT_OUT]
            _run("tar", "--create", f"--file={unfinished}", f"--directory={system}", *left_out, ".")
            unfinished.rename(archive)
    engine.docker("import", str(archive), BASE)


def download_wheels() -> None:
    """Put exactly the wheels that the locks name for the base's Python into `WHEELS`."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        locks = []
        for lock in _LOCKS:
            # pip evaluates markers for the Python that it runs on, which need not be the base's.
            plain = re.sub(r" ; python_[^\\]*", " ", (ROOT / lock).read_text("utf-8"))
            copy = Path(name, Path(lock).name)
            copy.write_text(plain, "utf-8")
            locks += ["--requirement", str(copy)]
        what = ("--require-hashes", "--only-binary=:all:", f"--python-version={PYTHON}", *locks)
        _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={WHEELS}", *what)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        raise EngineError(f"{Path(command[0]).name}: {(done.stdout + done.stderr)[-2000:].strip()}")
