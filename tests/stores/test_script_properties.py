"""The script decides as the core does: both are told the same histories, on real servers."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.limits.accounts import Caps
from tests.stores.histories import Story

SMALL = st.builds(
    Caps,
    st.integers(1, 6),
    st.sampled_from((6.0, 60.0)),
    st.sampled_from((5, 40, 5000)),
    st.integers(1, 3),
    st.sampled_from((4, 12, 10_000)),
).map(lambda caps: replace(caps, day_grows=caps.minute % 2 == 0))
EVERYTHING = {
    *("minute", "concurrent", "day", "appminute", "hold", "turn", "permit", "probe"),
    *("begun", "extended", "inconclusive", "ended", "cleared"),
    *("tenant_api", "api", "host"),
    *("foreign", "lost", "reaped", "disowned", "released", "let go"),
}


def test_the_script_decides_as_the_core_does(valkey: redis.Redis) -> None:
    seen = set[str]()

    @settings(max_examples=30)
    @given(SMALL | st.just(Caps()), st.integers(0, 2**32), st.booleans())
    def told(caps: Caps, seed: int, busy: bool) -> None:
        story = Story(valkey, caps, Random(seed), busy)
        for _ in range(200):
            story.step()
        story.same_accounts()
        seen.update(story.seen)

    told()
    assert seen == EVERYTHING


@pytest.mark.parametrize("busy", [False, True])
def test_another_server_decides_no_differently(debians: redis.Redis, busy: bool) -> None:
    story = Story(debians, Caps(minute=4, concurrent=2), Random(1), busy)
    for _ in range(500):
        story.step()
