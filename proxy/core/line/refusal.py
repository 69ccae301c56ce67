"""Why a request gets no permit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxy.core.limits.decision import Forecast


class Why(StrEnum):
    """Why a request was refused."""

    HOPELESS = "hopeless"
    """Its earliest possible time is past its deadline."""
    DEADLINE = "deadline"
    """It waited until its deadline."""
    QUEUE_FULL = "queue_full"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Refusal:
    """No permit. `limit` is what stands in the way (a `Limit`, a hold's reason, or empty), `at` the
    earliest time at which the request could have run; where that is not `known`, the time at which one
    request asks again.
    """

    why: Why
    limit: str
    at: float
    known: bool = True

    @staticmethod
    def of(why: Why, forecast: Forecast, otherwise: str = "") -> Refusal:
        """For what a forecast says; `otherwise` is in the way where it knows of nothing."""
        return Refusal(why, forecast.limit or otherwise, forecast.at, forecast.known)
