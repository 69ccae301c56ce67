"""The budgets of all apps and tenants, made at their first use."""

from __future__ import annotations

from random import Random

from proxy.simulator.budget import Budget
from proxy.simulator.options import DAY_SECONDS, Options
from proxy.simulator.windows import Window, window


class Budgets:
    """Budgets by app and tenant, and each app's own minute window."""

    def __init__(self, options: Options, random: Random) -> None:
        self._options = options
        self._random = random
        self._tenants: dict[tuple[str, str], Budget] = {}
        self._apps: dict[str, Window] = {}

    def app(self, app: str) -> Window:
        """The minute window over all tenants of an app."""
        if app not in self._apps:
            self._apps[app] = self._window(self._options.app_minute_limit, self._options.window_seconds)
        return self._apps[app]

    def tenant(self, app: str, tenant: str, now: float) -> Budget:
        """The budget of one app at one tenant."""
        budget = self._tenants.get((app, tenant))
        if budget is None:
            options = self._options
            minute = self._window(options.minute_limit, options.window_seconds)
            day = self._window(options.day_limit, DAY_SECONDS)
            budget = Budget(minute, day, options.concurrent_limit, self._random)
            budget.foreign_rate(options.foreign_per_minute, now)
            self._tenants[app, tenant] = budget
        return budget

    def of(self, tenant: str) -> list[Budget]:
        """The budgets of all apps at one tenant."""
        return [budget for (_, owner), budget in self._tenants.items() if owner == tenant]

    def names(self) -> list[str]:
        """Every tenant that was ever called."""
        return sorted({tenant for _, tenant in self._tenants})

    def _window(self, limit: int, seconds: float) -> Window:
        """Fixed windows reset at a different moment for everybody, as at Xero."""
        return window(self._options.windows, limit, seconds, self._random.uniform(0.0, seconds))
