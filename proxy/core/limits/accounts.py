"""Whose account a call is charged to: every organisation's of every app, and every app's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Protocol, TypeVar

from proxy.core.limits.day import Day, DayRecord
from proxy.core.limits.window import Window, WindowRecord
from proxy.core.model import AppView, HoldKey, Left, Limit, Remaining, ResponseClass, TenantView

K = TypeVar("K")
T = TypeVar("T")
Record = tuple[WindowRecord, DayRecord | None]
"""What is charged to an organisation, or to an app, which has no day."""

TENANTS_KEPT = 20_000
"""Beyond so many organisations the ones with nothing in their windows are forgotten, oldest first."""

APP_LEARNING_SHARE = 0.5
"""An app's minute is learned from responses only where less than this share of it is left: one response
is enough to catch up, and so large a limit is far away most of the time.
"""


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits of the settings; `minute_seconds` is the length of both minute windows. `day_grows` where
    the day's is a default, so that Xero may show a larger one.
    """

    minute: int = 60
    minute_seconds: float = 60.0
    day: int = 5000
    concurrent: int = 5
    app_minute: int = 10_000
    day_grows: bool = False


class Answer(Protocol):
    """What an answer says of limits; `retry_after` is when there is room again, in seconds."""

    row: ResponseClass
    head_at: float
    remaining: Remaining
    retry_after: float | None


@dataclass(slots=True)
class Account:
    """One organisation's limits and what is charged to them."""

    minute: Window
    day: Day
    in_flight: int = 0


class Accounts:
    """All of them, made when they are first asked for."""

    __slots__ = ("_caps", "apps", "spent_at", "tenants")

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self.tenants: dict[tuple[str, str], Account] = {}
        self.apps: dict[str, Window] = {}
        self.spent_at = -inf
        """Where what was charged is lost: whoever is not known yet may have spent a whole minute then."""

    def tenant(self, app: str, tenant: str, now: float) -> Account:
        """The account of an organisation."""
        key = (app, tenant)
        account = self.tenants.get(key)
        if account is None:
            if len(self.tenants) >= TENANTS_KEPT:
                _forget_idle(self.tenants, lambda old: bool(old.in_flight) or not old.minute.idle(now))
            account = Account(
                self._window(self._caps.minute, now), Day(self._caps.day, grows=self._caps.day_grows)
            )
            self.tenants[key] = account
        return account

    def app(self, app: str, now: float) -> Window:
        """The minute of an app."""
        window = self.apps.get(app)
        if window is None:
            if len(self.apps) >= TENANTS_KEPT:
                _forget_idle(self.apps, lambda old: not old.idle(now))
            window = self.apps[app] = self._window(self._caps.app_minute, now)
        return window

    def record(self, app: str, tenant: str | None, now: float) -> Record | None:
        """What is charged to an organisation, or (None) to an app; None where nothing is known of it."""
        if tenant is None:
            window = self.apps.get(app)
            return None if window is None else (window.record(now), None)
        account = self.tenants.get((app, tenant))
        return None if account is None else (account.minute.record(now), account.day.record(now))

    def restore(self, app: str, tenant: str | None, record: Record, at: float, now: float) -> None:
        """Charge what another process recorded at `at`, on this one's clock, to who is not known yet."""
        minute, day = record
        if tenant is None:
            self.app(app, now).restore(minute, at, now)
            return
        account = self.tenant(app, tenant, now)
        account.minute.restore(minute, at, now)
        account.day.restore(day or DayRecord((), None, None), at, now)

    def left(self, app: str, tenant: str | None, now: float) -> Left:
        """What an organisation's limits and the app's leave, as far as known."""
        left = Left()
        if (window := self.apps.get(app)) is not None:
            left = left._replace(app_minute=window.free(now))
        if tenant is not None and (account := self.tenants.get((app, tenant))):
            minute, day = account.minute.free(now), account.day
            left = left._replace(minute=minute, day=day.remaining(now), day_limit=day.limit)
        return left

    def views(self, now: float) -> Iterator[TenantView]:
        """Organisations for operators, made as they are taken; decisions may come in between. The waiting
        lines' share of the fields is left empty.
        """
        for (app, name), tenant in list(self.tenants.items()):
            yield TenantView(
                app=app,
                tenant=name,
                queued=0,
                oldest_seconds=0.0,
                blocked_by="",
                next_seconds=None,
                in_flight=tenant.in_flight,
                concurrent_limit=self._caps.concurrent,
                minute_limit=self._caps.minute,
                minute_remaining=tenant.minute.free(now),
                day_limit=tenant.day.limit,
                day_remaining=tenant.day.remaining(now),
                foreign_calls=tenant.minute.foreign(now),
            )

    def app_views(self, now: float) -> Iterator[AppView]:
        """The same of apps."""
        for app, window in list(self.apps.items()):
            yield AppView(app, window.limit, window.free(now))

    def let_in(self, key: HoldKey, limit: str, said: Remaining, sent_at: float, now: float) -> None:
        """A call sent at `sent_at` found that the server has room again by a limit by which it had refused
        `key`. Where nothing is learned from what it `said`, nothing is believed any more.
        """
        app, account = self.apps.get(key.app), self.tenants.get((key.app, key.tenant))
        if app is not None and limit == Limit.APP_MINUTE:
            if said.app_minute is None or not _near(app, said.app_minute):
                app.forget_others(sent_at, now)
        elif account is not None and limit == Limit.MINUTE and said.minute is None:
            account.minute.forget_others(sent_at, now)
        elif account is not None and limit == Limit.DAY and said.day is None:
            account.day.begin_anew()

    def _window(self, limit: int, now: float) -> Window:
        window = Window(limit, self._caps.minute_seconds)
        window.restore(WindowRecord(0, ((0, limit),)), self.spent_at, now)
        return window


def learn(app: Window, tenant: Account | None, sent_at: float, answer: Answer, now: float) -> int:
    """Compare the server's counts with ours; how many calls of others that revealed."""
    head_at, remaining, revealed = answer.head_at, answer.remaining, 0
    if (left := remaining.app_minute) is not None and _near(app, left):
        app.learn(sent_at, head_at, left, now)
    if tenant is not None:
        if remaining.day is not None:
            tenant.day.learn(remaining.day, tenant.minute.unaccounted(sent_at))
        elif answer.row.healthy:
            tenant.day.outlive()
        if remaining.minute is not None:
            revealed = tenant.minute.learn(sent_at, head_at, remaining.minute, now)
    if (rule := answer.row.hold) is None or answer.retry_after is None:
        return revealed
    if rule.reason == Limit.APP_MINUTE:
        app.expect(head_at + answer.retry_after, now)
    elif rule.reason == Limit.MINUTE and tenant is not None:
        tenant.minute.expect(head_at + answer.retry_after, now)
    return revealed


def _near(app: Window, left: int) -> bool:
    return left < APP_LEARNING_SHARE * app.limit


def _forget_idle(kept: dict[K, T], busy: Callable[[T], bool]) -> None:
    """Look at a few of the oldest, so that the cost stays constant; the busy ones become the newest."""
    for key in list(islice(kept, 8)):
        if busy(one := kept.pop(key)):
            kept[key] = one
