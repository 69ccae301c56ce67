import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import AppView, HoldKey, HoldView, Scope, Snapshot
from proxy.status import REFRESH_SECONDS, ROWS_MAX, Status, _span, as_json, as_page, iso
from tests.test_telemetry import tenant_view

WALL = 1_795_262_405.75
OFFLINE = HoldView(HoldKey(Scope.TENANT, app="app", tenant="acme"), "offline", 90.0, probing=False)


def status(snapshot: Snapshot, *, ready: bool = True) -> Status:
    return Status(snapshot, "1.2.3", ready, WALL, 3723.0)


def page(snapshot: Snapshot, *, ready: bool = True, refresh: bool = True) -> str:
    return as_page(status(snapshot, ready=ready), refresh=refresh)


class Outline(HTMLParser):
    """Tags and text of a page; an element left open is an error."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (4.24, "4.2 s"), (200, "3 min 20 s"), (18_420, "5 h 7 min"), (187_200, "2 d 4 h")],
)
def test_durations_are_shown_as_people_say_them(seconds: float, text: str) -> None:
    assert _span(seconds) == text


def test_the_json_has_lines_budgets_and_holds_with_their_ends() -> None:
    found: dict[str, Any] = orjson.loads(
        orjson.dumps(
            as_json(
                status(
                    Snapshot(
                        tenants=(tenant_view(queued=2, blocked_by="offline", next_seconds=90.0),),
                        apps=(AppView("app", 10_000, 9_990),),
                        holds=(OFFLINE,),
                        waiting=2,
                        draining=True,
                    )
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
                "minute_limit": 60,
                "minute_remaining": 60,
                "day_limit": 5000,
                "day_remaining": 5000,
                "foreign_calls": 0,
            }
        ],
    }


def test_the_page_shows_what_the_json_has() -> None:
    words = Outline(
        page(
            Snapshot(
                tenants=(
                    tenant_view(queued=2, oldest_seconds=61.0, blocked_by="offline", next_seconds=90.0),
                ),
                apps=(AppView("app", 10_000, 9_990),),
                holds=(OFFLINE,),
                waiting=2,
            )
        )
    ).words
    for shown in (
        "xero-proxy: ready",
        "2 waiting. Version 1.2.3, up 1 h 2 min, 2026-11-21T12:00:05.750Z.",
        "acme",
        "offline",
        "1 min 30 s",
        "1 min 1 s",
        "2026-11-21T12:01:35.750Z",
        "60 of 60",
        "5000 of 5000",
        "9990 of 10000",
    ):
        assert shown in words


@given(text=st.text(st.characters()))
def test_no_name_becomes_markup(text: str) -> None:
    name = f'<script>alert("1")</script><b title=\'{text}'
    shown = page(
        Snapshot(
            tenants=(tenant_view(name, app=name, queued=1, blocked_by=name),),
            apps=(AppView(name, 1, 1),),
            holds=(
                HoldView(HoldKey(Scope.TENANT, app=name, tenant=name), name, 1.0, probing=False),
                HoldView(HoldKey(Scope.API, api=name), name, 1.0, probing=True),
            ),
        )
    )
    plain = page(
        Snapshot(
            tenants=(tenant_view("x", app="x", queued=1, blocked_by="x"),),
            apps=(AppView("x", 1, 1),),
            holds=(
                HoldView(HoldKey(Scope.TENANT, app="x", tenant="x"), "x", 1.0, probing=False),
                HoldView(HoldKey(Scope.API, api="x"), "x", 1.0, probing=True),
            ),
        )
    )
    assert Outline(shown).tags == Outline(plain).tags


@pytest.mark.parametrize(
    ("draining", "ready", "state"),
    [(False, True, "ready"), (False, False, "not ready"), (True, False, "draining")],
)
def test_the_page_says_whether_requests_are_accepted(draining: bool, ready: bool, state: str) -> None:
    assert f"<h1>xero-proxy: {state}</h1>" in page(Snapshot(draining=draining), ready=ready)


def test_an_empty_table_is_a_sentence() -> None:
    assert Outline(page(Snapshot())).words.count("None.") == 3


def test_the_page_reloads_itself_unless_told_not_to() -> None:
    reload = ("meta", {"http-equiv": "refresh", "content": str(REFRESH_SECONDS)})
    assert reload in Outline(page(Snapshot())).tags
    assert reload not in Outline(page(Snapshot(), refresh=False)).tags


def test_tables_can_be_read_by_screen_readers() -> None:
    outline = Outline(page(Snapshot(tenants=(tenant_view(),), holds=(OFFLINE,))))
    tags = [tag for tag, _ in outline.tags]
    assert ("html", {"lang": "en"}) in outline.tags
    assert tags.count("main") == tags.count("h1") == tags.count("title") == 1
    assert tags.count("caption") == tags.count("table") == 2
    assert all(attributes == {"scope": "col"} for tag, attributes in outline.tags if tag == "th")


def test_only_the_busiest_of_very_many_organisations_are_on_the_page() -> None:
    views = tuple(tenant_view(f"t{number}", queued=number) for number in range(1000))
    shown = page(Snapshot(tenants=views))
    assert f"Organisations: {ROWS_MAX} of 1000" in shown
    assert len(re.findall("<td>t[0-9]+</td>", shown)) == ROWS_MAX
    assert "<td>t999</td>" in shown
    assert "<td>t0</td>" not in shown
