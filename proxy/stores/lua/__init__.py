"""The script that shares the limits, in the files beside this one.

Each repeats a part of `proxy.core` and names it; a test holds the two against each other on the same
histories.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files

from proxy.core import day, holds, limits, sharing, window

MARGIN_SECONDS = 60.0
"""Keys outlive by so much the time for which the rules need them."""
HOLDS_TOLD = 100
"""A beat tells all holds where there are no more than so many."""
HOLDS_SAMPLED = 20
"""Of so many a beat looks whether they are long over."""

_CONSTANTS = {
    "CLOCK_DRIFT": window.CLOCK_DRIFT,
    "HEARING_SECONDS": window.HEARING_SECONDS,
    "COMPANY_WINDOWS": window.COMPANY_WINDOWS,
    "DAY_SECONDS": day.DAY_SECONDS,
    "BUCKET_SECONDS": day.BUCKET_SECONDS,
    "ASK_AGAIN_SECONDS": day.ASK_AGAIN_SECONDS,
    "RESET_MARGIN_SECONDS": holds.RESET_MARGIN_SECONDS,
    "LONGEST_HOLD_SECONDS": holds.LONGEST_HOLD_SECONDS,
    "BREAKER_FAILURES": holds.BREAKER_FAILURES,
    "APP_LEARNING_SHARE": limits.APP_LEARNING_SHARE,
    "GRACE_SECONDS": limits.GRACE_SECONDS,
    "POLL_SECONDS": sharing.POLL_SECONDS,
    "LEASE_SECONDS": sharing.LEASE_SECONDS,
    "REAPED_AT_ONCE": sharing.REAPED_AT_ONCE,
    "MARGIN_SECONDS": MARGIN_SECONDS,
    "HOLDS_TOLD": HOLDS_TOLD,
    "HOLDS_SAMPLED": HOLDS_SAMPLED,
    "ACCOUNT_SECONDS": int(day.DAY_SECONDS + day.BUCKET_SECONDS + MARGIN_SECONDS),
    "RECORD_SECONDS": int(2 * day.DAY_SECONDS),
}
_PARTS = ("arguments", "window", "day", "holds", "contenders", "limits", "leases")


def _source() -> str:
    """The parts one after another; the core's constants stand before them, so that none is written twice."""
    constants = [f"local {name} = {value!r}" for name, value in _CONSTANTS.items()]
    folder = files(__name__)
    parts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS]
    return "\n".join([*constants, f"local FAILING = '{holds.FAILING}'", *parts])


SOURCE = _source()
"""The whole script, for EVAL and SCRIPT LOAD."""
SHA = sha1(SOURCE.encode(), usedforsecurity=False).hexdigest()
"""Its name for EVALSHA."""
