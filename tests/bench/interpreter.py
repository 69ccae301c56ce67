"""What ran the measurement, since a Python built without optimisation is a third slower."""

from __future__ import annotations

import os
import platform
import sysconfig

DEBIAN = "--with-wheel-pkg-dir=/usr/share/python-wheels/"
"""What marks Debian's own build: it uses PGO and LTO, and leaves both out of the flags it shows."""


def interpreter() -> str:
    """The interpreter, how it was built, and the machine, in one line."""
    names = ("CONFIG_ARGS", "PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_LDFLAGS_NODIST")
    flags = " ".join(str(sysconfig.get_config_var(name) or "") for name in names)
    debian = DEBIAN in flags
    profiled = debian or "--enable-optimizations" in flags or "-fprofile-use" in flags
    linked = debian or "--with-lto" in flags or "-flto" in flags
    by = "Debian's packaging" if debian else "its build flags"
    level = next((flag for flag in reversed(flags.split()) if flag.startswith("-O")), "-O?")
    return (
        f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()}, "
        f"{level}, {'PGO' if profiled else 'no PGO'}, {'LTO' if linked else 'no LTO'} by {by}), "
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"
    )


if __name__ == "__main__":  # asked of an interpreter that runs a part of the bench
    print(interpreter())
