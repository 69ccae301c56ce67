"""How strict and how slow a simulated Xero is."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.simulator.windows import WindowKind

DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Options:
    """The defaults are Xero's own limits, and no delay at all. Times are seconds."""

    minute_limit: int = 60
    day_limit: int = 5000
    app_minute_limit: int = 10_000
    concurrent_limit: int = 5
    window_seconds: float = 60.0
    windows: WindowKind = WindowKind.ROLLING
    latency: tuple[float, float] = (0.0, 0.0)
    """From arrival to the end of the answer: shortest and longest."""
    jitter: float = 0.0
    """Longest time on the network before a call arrives and is counted."""
    count_refused: bool = False
    """Whether a 429 spends a call of every window; what Xero does is not established."""
    foreign_per_minute: float = 0.0
    """Calls that somebody else makes on each tenant's limits, at random times."""
    known_tenants: tuple[str, ...] | None = None
    """None: any tenant exists from its first use on."""
    check_token_expiry: bool = False
    """Whether a JWT's `exp` is heeded."""
    epoch: float = 1_790_000_000.0
    """The wall clock at 0, in seconds since 1970."""
