import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client import Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from proxy.admin.events import WATCHERS_MAX
from proxy.admin.page import PAGE
from proxy.admin.routes import BODY_MAX, AdminPort
from proxy.clock import Clock
from proxy.core.model import HoldKey, Scope
from tests.admin_port import HELD, TOKEN, Proxy, serve
from tests.operators import tenant_view

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async for each in serve(TOKEN):
        yield each


@pytest.fixture
async def tokenless() -> AsyncIterator[Proxy]:
    async for each in serve(""):
        yield each


async def test_it_is_alive_whether_or_not_it_is_ready(proxy: Proxy) -> None:
    for ready in (True, False):
        proxy.ready = ready
        async with proxy.client.get("/livez") as response:
            assert response.status == 200


async def test_readiness_follows_start_and_drain(proxy: Proxy) -> None:
    for ready, status in ((False, 503), (True, 200), (False, 503)):
        proxy.ready = ready
        async with proxy.client.get("/readyz") as response:
            assert response.status == status


async def test_metrics_are_prometheus_text(proxy: Proxy) -> None:
    async with proxy.client.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'xero_proxy_things_total{tenant="acme"} 1.0\n' in await response.text()


async def test_metrics_are_open_metrics_on_request(proxy: Proxy) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.6, text/plain;q=0.4"
    async with proxy.client.get("/metrics", headers={"Accept": accept}) as response:
        assert (
            response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        )
        text = await response.text()
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # the library left it so
    assert [family.name for family in families] == ["xero_proxy_things"]


class Crowded(Clock):
    """The clock of a loop in which others take 40 ms whenever they are let go; counts how often they were."""

    def __init__(self) -> None:
        super().__init__()
        began = self.now()
        self.pauses = 0
        self.now = lambda: began + 0.04 * self.pauses

    async def sleep_until(self, _when: float) -> None:
        self.pauses += 1


async def test_a_scrape_of_a_crowded_proxy_does_not_wait_at_every_step(proxy: Proxy) -> None:
    gauge = Gauge("xero_proxy_many", "Many.", ["tenant"], registry=proxy.admin.registry)
    for number in range(5000):
        gauge.labels(f"t{number}").set(number)
    crowded = Crowded()
    port = AdminPort(replace(proxy.admin, clock=crowded), lambda _place: None)
    url = f"http://127.0.0.1:{await port.start('127.0.0.1', 0)}/metrics"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        assert 'tenant="t4999"' in await response.text()
    await port.close()
    assert 0.1 <= 0.04 * crowded.pauses < 0.5


async def test_the_status_is_json_with_ends_on_the_wall_clock(proxy: Proxy) -> None:
    async with proxy.client.get("/status") as response:
        assert response.content_type == "application/json"
        found = orjson.loads(await response.read())
    assert found["time"] == "2026-11-21T12:00:05.750Z"
    assert found["holds"][0]["until"] == "2026-11-21T12:01:35.750Z"
    assert found["tenants"][0]["tenant"] == "acme"
    assert 0 <= found["uptime_seconds"] < 60


async def test_the_status_says_what_failed_last(proxy: Proxy) -> None:
    async with proxy.client.get("/status") as response:
        (failure,) = orjson.loads(await response.read())["failures"]
    assert (failure["class"], failure["last"]) == ("refused_offline", "2026-11-21T11:59:05.750Z")


async def test_a_name_that_is_no_unicode_breaks_neither_status_nor_events(proxy: Proxy) -> None:
    proxy.state = replace(proxy.state, tenants=(tenant_view("caf\udce9"),))
    async with proxy.client.get("/status") as response:
        assert orjson.loads(await response.read())["tenants"][0]["tenant"] == "caf?"
    async with proxy.client.get("/events") as response:
        assert (await event(response))["rows"][0]["view"]["tenant"] == "caf?"


async def event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The data of the next event."""
    text = await response.content.readuntil(b"\n\n")
    value: dict[str, Any] = orjson.loads(text.removeprefix(b"data: "))
    return value


async def test_a_tenant_that_is_a_script_is_text_on_the_page(proxy: Proxy) -> None:
    """It is no part of the page, which is the same for everybody; the page's script gets it as text."""
    proxy.state = replace(proxy.state, tenants=(tenant_view("<script>alert(1)</script>"),))
    async with proxy.client.get("/") as response:
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert await response.read() == PAGE
    async with proxy.client.get("/events") as response:
        assert (await event(response))["rows"][0]["view"]["tenant"] == "<script>alert(1)</script>"


async def test_the_page_is_told_what_it_shows(proxy: Proxy) -> None:
    async with proxy.client.get("/events") as response:
        assert response.content_type == "text/event-stream"
        (row,) = (await event(response))["rows"]
    assert (row["states"][0]["state"], row["states"][0]["reason"]) == ("held", "offline")
    assert row["failures"][0]["count"] == 3


async def test_more_watchers_than_there_is_room_for_are_refused_in_json(proxy: Proxy) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(WATCHERS_MAX):
            assert (await stack.enter_async_context(proxy.client.get("/events"))).status == 200
        async with proxy.client.get("/events") as response:
            assert response.status == 503
            assert "/status?page" in orjson.loads(await response.read())["detail"]
        async with proxy.client.get("/status?page") as response:
            polled = orjson.loads(await response.read())
        assert polled["rows"][0]["view"]["tenant"] == "acme"


@pytest.mark.parametrize("path", ["/", "/events", "/livez", "/readyz", "/metrics", "/status", "/nothing"])
async def test_no_answer_is_cached_or_guessed_at(path: str, proxy: Proxy) -> None:
    async with proxy.client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "xero-proxy"
        assert response.headers["Date"] == "Sat, 21 Nov 2026 12:00:05 GMT"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_an_unknown_path_is_404_in_json(proxy: Proxy) -> None:
    async with proxy.client.get("/nothing") as response:
        assert response.status == 404
        assert orjson.loads(await response.read())["title"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/status", "GET,HEAD"),
        ("DELETE", "/", "GET,HEAD"),
        ("HEAD", "/events", "GET"),
        ("GET", "/holds/clear", "POST"),
    ],
)
async def test_a_wrong_method_is_405_in_json(method: str, path: str, allowed: str, proxy: Proxy) -> None:
    async with proxy.client.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == allowed
        assert method == "HEAD" or orjson.loads(await response.read())["status"] == 405


async def test_a_head_request_gets_no_body(proxy: Proxy) -> None:
    async with proxy.client.head("/readyz") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_without_a_token_in_the_settings_nothing_can_be_changed(tokenless: Proxy) -> None:
    for headers in (None, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}, BEARER):
        status, problem, response = await tokenless.post({"scope": "app", "app": "app"}, headers)
        assert status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="xero-proxy admin"'
        assert "XERO_PROXY_ADMIN_TOKEN" in problem["detail"]
    assert tokenless.cleared == []


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        "Bearer caf\xe9",
    ],
)
async def test_whoever_has_not_the_token_is_asked_for_it(authorization: str | None, proxy: Proxy) -> None:
    headers = None if authorization is None else {"Authorization": authorization}
    status, problem, response = await proxy.post({"scope": "app", "app": "app"}, headers)
    assert status == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="xero-proxy admin"'
    assert TOKEN not in str(problem)
    assert proxy.cleared == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_hold_is_cleared_with_the_token(scheme: str, proxy: Proxy) -> None:
    body = {"scope": "tenant", "app": "app", "tenant": "acme"}
    status, answer, _ = await proxy.post(body, {"Authorization": f"{scheme} {TOKEN}"})
    assert (status, answer) == (200, {"cleared": True})
    assert proxy.cleared == [HELD]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"scope": "app", "app": "a"}, HoldKey(Scope.APP, app="a")),
        ({"scope": "app"}, HoldKey(Scope.APP)),
        ({"scope": "api", "app": "", "tenant": "", "api": "files"}, HoldKey(Scope.API, api="files")),
        (
            {"scope": "tenant_api", "app": "a", "tenant": "t", "api": "files"},
            HoldKey(Scope.TENANT_API, app="a", tenant="t", api="files"),
        ),
        ({"scope": "host"}, HoldKey(Scope.HOST)),
    ],
)
async def test_a_hold_that_is_not_there_is_404(body: dict[str, str], key: HoldKey, proxy: Proxy) -> None:
    status, _, _ = await proxy.post(body, BEARER)
    assert status == 404
    assert proxy.cleared == [key]


async def test_what_the_status_says_of_a_hold_names_it(proxy: Proxy) -> None:
    async with proxy.client.get("/status") as response:
        (hold,) = orjson.loads(await response.read())["holds"]
    for named in ({name: hold[name] for name in ("scope", "app", "tenant", "api")}, hold):
        assert (await proxy.post(named, BEARER))[0] == 200
    assert proxy.cleared[0] == proxy.cleared[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        [],
        1,
        {},
        {"scope": "everything"},
        {"scope": ["tenant"]},
        {"scope": None},
        {"scope": "tenant", "app": 1},
        {"scope": "api", "api": "files", "tenant": "acme"},
        {"scope": "app", "app": "a", "force": "yes"},
        {"scope": "host", "app": "a"},
    ],
)
async def test_a_body_that_names_no_hold_is_400_and_changes_nothing(body: object, proxy: Proxy) -> None:
    status, problem, _ = await proxy.post(body, BEARER)
    assert status == 400
    assert problem["detail"].endswith(".")
    assert proxy.cleared == []


async def test_a_long_body_is_413(proxy: Proxy) -> None:
    status, _, _ = await proxy.post(b" " * (BODY_MAX + 1), BEARER)
    assert status == 413
