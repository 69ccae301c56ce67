from __future__ import annotations

import pytest

from proxy.core.limits.accounts import Accounts, Caps
from proxy.core.model import Limit


@pytest.mark.parametrize(
    ("app", "tenant", "limit", "left"),
    [
        ("app", "acme", Limit.MINUTE, 59),
        ("app", "acme", Limit.DAY, 4999),
        ("app", "acme", Limit.APP_MINUTE, 9999),
        ("app", None, Limit.APP_MINUTE, 9999),
        ("app", "zenith", Limit.MINUTE, None),
        ("app", None, Limit.DAY, None),
        ("other", "acme", Limit.APP_MINUTE, None),
        ("app", "acme", Limit.CONCURRENT, None),
    ],
)
def test_what_is_left_of_a_limit_is_known_of_who_has_called(
    app: str, tenant: str | None, limit: Limit, left: int | None
) -> None:
    accounts = Accounts(Caps())
    accounts.app("app", 1.0).dispatch(1.0)
    account = accounts.tenant("app", "acme", 1.0)
    account.minute.dispatch(1.0)
    account.day.dispatch(1.0)
    assert accounts.left(app, tenant, 2.0).of(limit) == left
