"""The scripts that share the limits, in the files beside this one: one for each operation, so that the server
does not run through what another one needs.

Each file repeats a part of `proxy.core` and names it; a test holds the two against each other on the same
histories.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from math import ceil

from proxy.core.limits import accounts, breaker, day, holds, sharing, window
from proxy.core.limits import decision as limits
from proxy.core.limits.accounts import Caps
from proxy.core.limits.holds import HoldTimes

MARGIN_SECONDS = 60.0
"""Keys outlive by so much the time for which the rules need them."""
HOLDS_TOLD = 100
"""A beat tells all holds where there are no more than so many."""
HOLDS_SAMPLED = 20
"""Of so many a beat looks whether they are long over."""

_NAME = re.compile(r"\b[A-Z][A-Z_]*\b")

_ACCOUNTS = ("shared/clock", "shared/replicas", "shared/account", "shared/day", "shared/holds")
_SETTLE = (
    *(*_ACCOUNTS, "shared/changes"),
    *(f"settle/{part}" for part in ("window", "day", "breaker", "holds", "permit")),
)
_PARTS = {
    "acquire": (*_ACCOUNTS, *(f"acquire/{part}" for part in ("window", "day", "holds", "turns", "decision"))),
    "settle": (*_SETTLE, "settle/settlement"),
    "release": (*_SETTLE, "settle/release"),
    "let_go": ("shared/clock", "shared/holds", "shared/changes", "let_go"),
    "beat": (*_SETTLE, "beat"),
    "clear": ("shared/clock", "shared/account", "shared/day", "shared/holds", "shared/changes", "clear"),
}
"""Of each operation, in their order: what a file uses stands before it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A script: its text for EVAL, and its name for EVALSHA."""

    text: bytes
    sha: bytes


@lru_cache(maxsize=8)
def sources(caps: Caps, times: HoldTimes) -> dict[bytes, Source]:
    """The script of each operation under these settings, by its name."""
    figures = _figures(caps, times)
    folder = files(__name__)
    made = {}
    for operation, parts in _PARTS.items():
        lua = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
        text = _NAME.sub(lambda name: figures.get(name[0], name[0]), lua).encode()
        made[operation.encode()] = Source(text, sha1(text, usedforsecurity=False).hexdigest().encode())
    return made


def _figures(caps: Caps, times: HoldTimes) -> dict[str, str]:
    """What stands in the files as a name in capitals, so that no figure is written twice."""
    span = caps.minute_seconds * (1 + window.CLOCK_DRIFT)
    figures: dict[str, float | str] = {
        "MINUTE_SECONDS": caps.minute_seconds,
        "SPAN": span,
        "CAP_MINUTE": caps.minute,
        "CAP_DAY": caps.day,
        "DAY_GROWS": int(caps.day_grows),
        "CAP_CONCURRENT": caps.concurrent,
        "CAP_APP_MINUTE": caps.app_minute,
        "OFFLINE": times.offline,
        "BACKOFF": times.backoff,
        "BACKOFF_MAX": times.backoff_max,
        "CLOCK_DRIFT": window.CLOCK_DRIFT,
        "HEARING_SECONDS": window.HEARING_SECONDS,
        "RETRY_AFTER_UNIT": window.RETRY_AFTER_UNIT,
        "COMPANY_WINDOWS": window.COMPANY_WINDOWS,
        "DAY_SECONDS": day.DAY_SECONDS,
        "BUCKET_SECONDS": day.BUCKET_SECONDS,
        "ASK_AGAIN_SECONDS": day.ASK_AGAIN_SECONDS,
        "RESET_MARGIN_SECONDS": holds.RESET_MARGIN_SECONDS,
        "LONGEST_HOLD_SECONDS": holds.LONGEST_HOLD_SECONDS,
        "SILENT_SECONDS": holds.SILENT_SECONDS,
        "BREAKER_FAILURES": breaker.BREAKER_FAILURES,
        "MOST_OF_ONE": breaker.MOST_OF_ONE,
        "SEVERAL": breaker.SEVERAL,
        "CALLED_SECONDS": breaker.CALLED_SECONDS,
        "COUNTED_MOST": breaker.COUNTED_MOST,
        "FAILING": holds.FAILING,
        "APP_LEARNING_SHARE": accounts.APP_LEARNING_SHARE,
        "GRACE_SECONDS": limits.GRACE_SECONDS,
        "POLL_SECONDS": sharing.POLL_SECONDS,
        "LEASE_SECONDS": sharing.LEASE_SECONDS,
        "REAPED_AT_ONCE": sharing.REAPED_AT_ONCE,
        "HOLDS_TOLD": HOLDS_TOLD,
        "HOLDS_SAMPLED": HOLDS_SAMPLED,
        "SET_SECONDS": ceil(3 * span + MARGIN_SECONDS),
        "ACCOUNT_SECONDS": int(day.DAY_SECONDS + day.BUCKET_SECONDS + MARGIN_SECONDS),
        "RECORD_SECONDS": int(2 * day.DAY_SECONDS),
    }
    return {name: repr(figure) for name, figure in figures.items()}
