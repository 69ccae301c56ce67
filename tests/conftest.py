"""How the whole suite runs: hypothesis the same every time, or for long where one asks for it."""

from __future__ import annotations

import asyncio
import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the test
)
settings.register_profile(
    "thorough",  # HYPOTHESIS_PROFILE=thorough make unit: other examples at each run, and many of them
    derandomize=False,
    deadline=None,
    print_blob=True,
    max_examples=2_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# looptime asks for the event loop in plain tests too, which would make one there that nobody closes.
asyncio.set_event_loop(None)
