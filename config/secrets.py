"""Secrets that come from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FILE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a setting cannot be used."""

    sentence: str


def secret(name: str, path: str) -> str | Problem:
    """What is in the file at `path`, without the end of the line; `name` is the variable that names it."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
        text = content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        return Problem(f"{name} names a file that cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return Problem(f"{name} names a file that is not UTF-8 text")
    except ValueError:
        return Problem(f"{name} must be a path")
    if not text or len(content) > _FILE_BYTES:
        return Problem(f"{name} names a file that is {'too large' if text else 'empty'}")
    return text
