"""Whose account a call is charged to: every organisation's of every app, and every app's own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from proxy.core.day import Day
from proxy.core.window import Window

TENANTS_KEPT = 20_000
"""Beyond so many organisations the ones with nothing in their windows are forgotten, oldest first."""


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits of the settings; `minute_seconds` is the length of both minute windows."""

    minute: int = 60
    minute_seconds: float = 60.0
    day: int = 5000
    concurrent: int = 5
    app_minute: int = 10_000


@dataclass(slots=True)
class Account:
    """One organisation's limits and what is charged to them."""

    minute: Window
    day: Day
    in_flight: int = 0


class Accounts:
    """All of them, made when they are first asked for."""

    __slots__ = ("_caps", "apps", "tenants")

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self.tenants: dict[tuple[str, str], Account] = {}
        self.apps: dict[str, Window] = {}

    def tenant(self, app: str, tenant: str, now: float) -> Account:
        """The account of an organisation."""
        key = (app, tenant)
        account = self.tenants.get(key)
        if account is None:
            if len(self.tenants) >= TENANTS_KEPT:
                self._forget_idle(now)
            account = Account(Window(self._caps.minute, self._caps.minute_seconds), Day(self._caps.day))
            self.tenants[key] = account
        return account

    def app(self, app: str, now: float) -> Window:
        """The minute of an app."""
        window = self.apps.get(app)
        if window is None:
            if len(self.apps) >= TENANTS_KEPT:
                self._forget_idle_apps(now)
            window = self.apps[app] = Window(self._caps.app_minute, self._caps.minute_seconds)
        return window

    def _forget_idle(self, now: float) -> None:
        """Look at a few of the oldest, so that the cost stays constant; the busy ones become the newest."""
        for key in list(islice(self.tenants, 8)):
            account = self.tenants.pop(key)
            if account.in_flight or not account.minute.idle(now):
                self.tenants[key] = account

    def _forget_idle_apps(self, now: float) -> None:
        for name in list(islice(self.apps, 8)):
            window = self.apps.pop(name)
            if not window.idle(now):
                self.apps[name] = window
