"""What holds for any requests, answers and times."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.accounts import Caps
from proxy.core.limits.decision import Ask, Denial, Permit, Settlement
from proxy.core.model import (
    Limit,
    ResponseClass,
)
from tests.core.permits import (
    MAINTENANCE,
    NEVER_SENT,
    OFFLINE,
    OK,
    SPAN,
    make,
    state,
)


@dataclass(slots=True)
class Ledger:
    """What was charged, kept in the plainest way."""

    permits: dict[int, Permit] = field(default_factory=dict)
    sent: list[tuple[Ask, float, float | None]] = field(default_factory=list)

    def in_flight(self, ask: Ask) -> int:
        return sum((p.ask.app, p.ask.tenant) == (ask.app, ask.tenant) for p in self.permits.values())

    def occupied(self, ask: Ask, now: float, *, app: bool) -> int:
        """Calls not yet a window after their response."""
        return sum(
            past.app == ask.app and (app or past.tenant == ask.tenant) and (end is None or now - end < SPAN)
            for past, _, end in self.sent
        )


asks = st.builds(Ask, st.sampled_from("ab"), st.sampled_from(["t1", "t2", None]), st.sampled_from(["x", "y"]))
rows = st.sampled_from([OK, OK, OK, NEVER_SENT, OFFLINE, MAINTENANCE])
moves = st.tuples(asks, st.integers(0, 3), rows, st.sampled_from([0.0, 0.1, 5.0, 61.0]))


@given(
    st.builds(
        Caps, st.integers(1, 4), st.just(60.0), st.integers(1, 12), st.integers(1, 3), st.integers(1, 8)
    ),
    st.lists(moves, max_size=50),
    st.integers(0, 2**16),
)
def test_all_limits_agree_and_are_charged_or_nothing_is(
    caps: Caps, story: list[tuple[Ask, int, ResponseClass, float]], seed: int
) -> None:
    limits, ledger, random, now = make(caps), Ledger(), Random(seed), 0.0
    for ask, settled, row, pause in story:
        now += pause
        forecast = limits.forecast(ask, 0, now)
        before = state(limits)
        decision = limits.acquire(ask, now)
        if isinstance(decision, Denial):
            assert {**before, "holds": 0} == {**state(limits), "holds": 0}
            assert decision.until is None or decision.until > now
            assert decision.until is None or forecast.at >= decision.until
            assert decision.hold is not None or decision.limit in tuple(Limit)
            for moment in ((now + forecast.at) / 2, forecast.at - 1e-3):
                assert moment < now or isinstance(deepcopy(limits).acquire(ask, moment), Denial)
        else:
            assert forecast.at == now, "too late"
            assert ledger.occupied(ask, now, app=True) < caps.app_minute
            if ask.tenant is not None:
                assert ledger.in_flight(ask) < caps.concurrent
                assert ledger.occupied(ask, now, app=False) < caps.minute
            ledger.permits[decision.number] = decision
            ledger.sent.append((ask, now, None))
        for _ in range(min(settled, len(ledger.permits))):
            permit = ledger.permits.pop(random.choice(sorted(ledger.permits)))
            sent = row is not NEVER_SENT
            limits.settle(permit, Settlement(row, sent, now), now, random.random())
            ledger.sent.remove((permit.ask, permit.granted_at, None))
            if sent:
                ledger.sent.append((permit.ask, permit.granted_at, now))
        for view in limits.view(now)[0]:
            seen = Ask(view.app, view.tenant, "")
            assert view.in_flight == ledger.in_flight(seen)
            free = caps.minute - ledger.occupied(seen, now, app=False)
            assert view.minute_remaining == free
