import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from proxy.admin import BODY_MAX, Admin, start_admin
from proxy.clock import Clock
from proxy.core.model import HoldKey, HoldView, Scope, Snapshot
from tests.test_telemetry import tenant_view

TOKEN = "canary-admin-token"
HELD = HoldKey(Scope.TENANT, app="app", tenant="acme")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class FixedWall(Clock):
    def wall(self) -> float:
        return 1_795_262_405.75


@dataclass
class Proxy:
    """What the admin port is given, and a client of it."""

    admin: Admin
    client: aiohttp.ClientSession
    state: Snapshot
    ready: bool = True
    cleared: list[HoldKey] = field(default_factory=list)

    async def clear(self, key: HoldKey) -> bool:
        self.cleared.append(key)
        return key == HELD

    async def post(
        self, value: Any, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        async with self.client.post("/holds/clear", data=body, headers=headers) as response:
            return response.status, orjson.loads(await response.read()), response


async def serve(token: str) -> AsyncIterator[Proxy]:
    registry = CollectorRegistry()
    Counter("xero_proxy_things", "Things.", ["tenant"], registry=registry).labels("acme").inc()
    proxy: Proxy

    async def clear(key: HoldKey) -> bool:
        return await proxy.clear(key)

    clock = FixedWall()
    admin = Admin(
        registry=registry,
        snapshot=lambda: proxy.state,
        clear_hold=clear,
        ready=lambda: proxy.ready,
        clock=clock,
        started=clock.now(),
        version="1.2.3",
        token=token,
    )
    runner = await start_admin(admin, "127.0.0.1", 0)
    host, port = runner.addresses[0]
    async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
        hold = HoldView(HELD, "offline", 90.0, probing=False)
        proxy = Proxy(admin, client, Snapshot(tenants=(tenant_view(),), holds=(hold,)))
        yield proxy
    await runner.cleanup()


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


async def test_the_status_is_json_with_ends_on_the_wall_clock(proxy: Proxy) -> None:
    async with proxy.client.get("/status") as response:
        assert response.content_type == "application/json"
        found = orjson.loads(await response.read())
    assert found["time"] == "2026-11-21T12:00:05.750Z"
    assert found["holds"][0]["until"] == "2026-11-21T12:01:35.750Z"
    assert found["tenants"][0]["tenant"] == "acme"
    assert 0 <= found["uptime_seconds"] < 60


async def test_a_name_that_is_no_unicode_breaks_neither_status_nor_page(proxy: Proxy) -> None:
    proxy.state = replace(proxy.state, tenants=(tenant_view("caf\udce9"),))
    async with proxy.client.get("/status") as response:
        found = orjson.loads(await response.read())
    assert found["tenants"][0]["tenant"] == "caf?"
    assert found["tenants"][0]["minute_limit"] == 60
    async with proxy.client.get("/") as response:
        assert "<td>caf?</td>" in await response.text()


async def test_a_tenant_that_is_a_script_is_text_on_the_page(proxy: Proxy) -> None:
    proxy.state = replace(proxy.state, tenants=(tenant_view("<script>alert(1)</script>"),))
    async with proxy.client.get("/") as response:
        assert response.content_type == "text/html"
        text = await response.text()
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>" in text
    assert "<script" not in text


async def test_the_page_can_be_kept_still(proxy: Proxy) -> None:
    async with proxy.client.get("/?refresh=off") as response:
        assert 'http-equiv="refresh"' not in await response.text()


async def test_the_policy_of_the_page_names_its_style_and_allows_nothing_else(proxy: Proxy) -> None:
    async with proxy.client.get("/") as response:
        policy = response.headers["Content-Security-Policy"]
        text = await response.text()
    style = text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/status", "/nothing"])
async def test_no_answer_is_cached_or_guessed_at(path: str, proxy: Proxy) -> None:
    async with proxy.client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "xero-proxy"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_an_unknown_path_is_404_in_json(proxy: Proxy) -> None:
    async with proxy.client.get("/nothing") as response:
        assert response.status == 404
        assert orjson.loads(await response.read())["title"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/status", "GET,HEAD"), ("DELETE", "/", "GET,HEAD"), ("GET", "/holds/clear", "POST")],
)
async def test_a_wrong_method_is_405_in_json(method: str, path: str, allowed: str, proxy: Proxy) -> None:
    async with proxy.client.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == allowed
        assert orjson.loads(await response.read())["status"] == 405


async def test_a_head_request_gets_no_body(proxy: Proxy) -> None:
    async with proxy.client.head("/readyz") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_without_a_token_in_the_settings_nothing_can_be_changed(tokenless: Proxy) -> None:
    for headers in (None, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}, BEARER):
        status, problem, _ = await tokenless.post({"scope": "app", "app": "app"}, headers)
        assert status == 403
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
    ],
)
async def test_a_hold_that_is_not_there_is_404(body: dict[str, str], key: HoldKey, proxy: Proxy) -> None:
    status, _, _ = await proxy.post(body, BEARER)
    assert status == 404
    assert proxy.cleared == [key]


async def test_what_the_status_says_of_a_hold_names_it(proxy: Proxy) -> None:
    async with proxy.client.get("/status") as response:
        (hold,) = orjson.loads(await response.read())["holds"]
    status, _, _ = await proxy.post({name: hold[name] for name in ("scope", "app", "tenant", "api")}, BEARER)
    assert status == 200


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


async def test_an_address_in_use_is_an_error_at_once(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await start_admin(proxy.admin, "127.0.0.1", port)


async def test_stopping_frees_the_address(proxy: Proxy) -> None:
    runner: web.AppRunner = await start_admin(proxy.admin, "127.0.0.1", 0)
    port = runner.addresses[0][1]
    await runner.cleanup()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
