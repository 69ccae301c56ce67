from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import AppView, ConnectionView, HoldKey, HoldView, Scope, Snapshot, UpstreamView
from proxy.observe.last_failures import FailureView
from proxy.observe.status import Status, as_json, iso
from proxy.observe.steps import whole
from tests.operators import tenant_view

WALL = 1_795_262_405.75
OFFLINE = HoldView(HoldKey(Scope.TENANT, app="app", tenant="acme"), "offline", 90.0, probing=False)


FAILED = FailureView("app", "acme", "refused_offline", 503, 3, 60.0)


def status(snapshot: Snapshot, *failures: FailureView, ready: bool = True) -> Status:
    return Status(snapshot, "1.2.3", ready, WALL, 3723.0, failures)


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (WALL, "2026-11-21T12:00:05.750Z"),
        (951_782_400.5, "2000-02-29T00:00:00.500Z"),
        (4_102_444_799.999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_the_wall_clock_is_shown_in_utc(wall: float, text: str) -> None:
    assert iso(wall) == text


@given(wall=st.floats(0, 4_000_000_000))
def test_the_wall_clock_is_right_to_the_millisecond(wall: float) -> None:
    assert abs(datetime.fromisoformat(iso(wall)).astimezone(UTC).timestamp() - wall) < 0.0011


def test_the_json_has_lines_budgets_and_holds_with_their_ends() -> None:
    found: dict[str, Any] = orjson.loads(
        whole(
            as_json(
                status(
                    Snapshot(
                        tenants=(tenant_view(queued=2, blocked_by="offline", next_seconds=90.0004),),
                        apps=(AppView("app", 10_000, 9_990),),
                        holds=(OFFLINE,),
                        connections=(
                            ConnectionView("app", "acme", "wrong_tenant", 60.0),
                            ConnectionView("app", "", "invalid_grant", 1.0),
                        ),
                        upstreams=(
                            UpstreamView(
                                "api",
                                "https://api.xeroo.com",
                                connected=False,
                                connected_seconds=None,
                                error="api.xeroo.com could not be resolved.",
                                error_seconds=1.50004,
                            ),
                        ),
                        waiting=2,
                        draining=True,
                    ),
                    FAILED,
                )
            )
        )
    )
    assert found.pop("python").count(".") == 2
    assert found == {
        "time": "2026-11-21T12:00:05.750Z",
        "version": "1.2.3",
        "uptime_seconds": 3723.0,
        "ready": True,
        "draining": True,
        "waiting": 2,
        "store": {"kind": "memory", "up": True, "trouble": "", "replicas": 1},
        "upstreams": [
            {
                "host": "api",
                "url": "https://api.xeroo.com",
                "connected": False,
                "connected_seconds": None,
                "error": "api.xeroo.com could not be resolved.",
                "error_seconds": 1.5,
            }
        ],
        "connections_lost": [
            {
                "app": "app",
                "tenant": "acme",
                "state": "unauthorised",
                "reason": "wrong_tenant",
                "since": "2026-11-21T11:59:05.750Z",
                "seconds": 60.0,
            },
            {
                "app": "app",
                "tenant": "",
                "state": "connection lost",
                "reason": "invalid_grant",
                "since": "2026-11-21T12:00:04.750Z",
                "seconds": 1.0,
            },
        ],
        "holds": [
            {
                "scope": "tenant",
                "app": "app",
                "tenant": "acme",
                "api": "",
                "reason": "offline",
                "until": "2026-11-21T12:01:35.750Z",
                "seconds": 90.0,
                "probing": False,
            }
        ],
        "apps": [{"app": "app", "minute_limit": 10_000, "minute_remaining": 9_990}],
        "tenants": [
            {
                "app": "app",
                "tenant": "acme",
                "queued": 2,
                "oldest_seconds": 0.0,
                "blocked_by": "offline",
                "next_seconds": 90.0,
                "in_flight": 0,
                "concurrent_limit": 5,
                "minute_limit": 60,
                "minute_remaining": 60,
                "day_limit": 5000,
                "day_remaining": 5000,
                "foreign_calls": 0,
                "states": [
                    {
                        "app": "app",
                        "tenant": "acme",
                        "state": "unauthorised",
                        "reason": "wrong_tenant",
                        "since": "2026-11-21T11:59:05.750Z",
                        "seconds": 60.0,
                    },
                    {
                        "state": "held",
                        "scope": "tenant",
                        "app": "app",
                        "tenant": "acme",
                        "api": "",
                        "reason": "offline",
                        "until": "2026-11-21T12:01:35.750Z",
                        "seconds": 90.0,
                        "probing": False,
                    },
                    {"state": "failing"},
                    {"state": "waiting"},
                ],
            }
        ],
        "failures": [
            {
                "app": "app",
                "tenant": "acme",
                "class": "refused_offline",
                "status": 503,
                "count": 3,
                "last": "2026-11-21T11:59:05.750Z",
                "seconds": 60.0,
            }
        ],
    }


def test_a_name_that_is_no_unicode_is_shown_as_far_as_it_is() -> None:
    found = orjson.loads(whole(as_json(status(Snapshot(tenants=(tenant_view("caf\udce9"),))))))
    assert found["tenants"][0]["tenant"] == "caf?"
    assert found["tenants"][0]["minute_limit"] == 60


@given(text=st.text(st.characters()))
def test_whatever_the_name_it_is_one_line_of_json(text: str) -> None:
    line = whole(as_json(status(Snapshot(tenants=(tenant_view(text),)))))
    assert not set(b"\r\n") & set(line)
    assert orjson.loads(line)["tenants"][0]["tenant"] == text.encode("utf-8", "replace").decode()
