"""What failed last, for the status page: a few classes of answers for each organisation, counted and dated.

Metrics count failures by class and API, never by organisation, so that no traffic can grow them. Here are the
organisations, bounded: whichever failed longest ago is forgotten first, and whatever is older than an hour.
"""

from __future__ import annotations

from dataclasses import dataclass

ORGANISATIONS_MAX = 1000
CLASSES_MAX = 5
"""Classes kept for each organisation."""
KEPT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class FailureView:
    """Failures of one class. `count` is how many there were with less than an hour between them, `status`
    what the last of them was answered with, `seconds` the time since. `tenant` is empty where there is none.
    """

    app: str
    tenant: str
    class_: str
    status: int
    count: int
    seconds: float


@dataclass(slots=True)
class _Seen:
    status: int
    count: int
    at: float


class LastFailures:
    """The last failures of every organisation. Both dictionaries have what failed last at their end."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[str, _Seen]] = {}

    def note(self, app: str, tenant: str, class_: str, status: int, now: float) -> None:
        """A request of this organisation was answered with a failure."""
        of_one = self._seen.pop((app, tenant), {})
        self._seen[app, tenant] = of_one
        seen = of_one.pop(class_, None)
        again = seen is not None and now - seen.at < KEPT_SECONDS
        of_one[class_] = _Seen(status, seen.count + 1 if seen and again else 1, now)
        if len(of_one) > CLASSES_MAX:
            del of_one[next(iter(of_one))]
        if len(self._seen) > ORGANISATIONS_MAX:
            del self._seen[next(iter(self._seen))]

    def view(self, now: float) -> tuple[FailureView, ...]:
        """What is left of them at `now`, the last first."""
        return tuple(
            FailureView(app, tenant, class_, seen.status, seen.count, max(0.0, now - seen.at))
            for (app, tenant), of_one in reversed(self._seen.items())
            for class_, seen in reversed(of_one.items())
            if now - seen.at < KEPT_SECONDS
        )
