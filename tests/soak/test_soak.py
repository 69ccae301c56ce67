"""The soak for 20 seconds, and the arithmetic of its verdict."""

from __future__ import annotations

import pytest

from tests.soak.__main__ import figures, verdict
from tests.soak.account import Account, slope
from tests.soak.run import soak

MOST_GROWTH_MIB = 48.0
"""Of a process that was fresh; what is kept for reuse is full by then."""


async def test_20_seconds() -> None:
    """Every request is answered once and in time, no write is executed twice, no success is false, no answer
    is another's; only the file in which bodies wait stays open, and memory stays where it was.
    """
    found = await soak(20.0, 300.0)
    told = "\n".join([*figures(found, 300.0), *verdict(found, [])])
    assert found.account.breaches() == [], told
    assert found.unended == 0, told
    assert found.files[1] <= found.files[0], told
    assert found.memory[-1][1] - found.memory[0][1] < MOST_GROWTH_MIB, told
    assert sum(found.account.executed.values()) > found.account.sent / 2, told


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (Account(sent=1, no_answer=["a"]), "without"),
        (Account(sent=1, statuses={"200": 1}, late=["a"]), "deadline"),  # type: ignore[arg-type]  # reads alike
        (Account(sent=1, left=1, writes={"a"}, executed={"a": 2}), "twice"),  # type: ignore[arg-type]  # reads alike
        (Account(sent=1, left=1, succeeded=["a"]), "success"),
        (Account(sent=1, left=1, foreign=["a"]), "somebody"),
        (Account(sent=2, left=1), "ended"),
        (Account(sent=1, left=2), "ended"),
    ],
)
def test_what_is_wrong_is_told(wrong: Account, word: str) -> None:
    (told,) = wrong.breaches()
    assert word in told


def test_a_slope_and_how_sure_it_is() -> None:
    assert slope([(second, 1.0 + second / 3600) for second in range(100)]).per_hour == pytest.approx(1)
    flat = slope([(second, 5.0 + (second % 2)) for second in range(300)])
    assert flat.least <= 0 <= flat.most
    stepped = slope([(second, 5.0 + 2.0 * (second > 200)) for second in range(300)])
    assert (stepped.per_hour, stepped.most) == (0.0, 0.0)
    stairs = slope([(second, second // 30) for second in range(300)])
    assert stairs.least > 1
    assert slope([(0, 1.0)]).most == float("inf")
