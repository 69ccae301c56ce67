"""What the status page says of several states at once, before it knows anything, and to many watchers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from proxy.admin.events import WATCHERS_MAX
from proxy.admin.routes import AdminPort
from proxy.core.model import ConnectionView, HoldKey, HoldView, Scope, Snapshot
from proxy.observe.steps import Steps
from tests.admin_port import TOKEN, serve
from tests.deploy.browser import Browser, chromium
from tests.deploy.test_status_page import LOW_CONTRAST, row_of
from tests.operators import tenant_view

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEVERAL = Snapshot(
    tenants=(tenant_view(day_remaining=0, queued=3, oldest_seconds=45.0), tenant_view("zenith")),
    holds=(
        HoldView(HoldKey(Scope.TENANT, app="app", tenant="acme"), "offline", 90.0, probing=False),
        HoldView(HoldKey(Scope.TENANT, app="app", tenant="acme", api="files"), "failing", 0.0, probing=True),
    ),
    connections=(ConnectionView("app", "acme", "wrong_tenant", 60.0),),
)
CONNECTION = "return document.getElementById('connection').textContent"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def window() -> AsyncIterator[Browser]:
    async with chromium() as made:
        yield made


@contextlib.asynccontextmanager
async def opened(browser: Browser, snapshot: Steps[Snapshot] | None = None) -> AsyncIterator[str]:
    """The page of a proxy in many troubles, at the address that this gives."""
    async for proxy in serve(TOKEN):
        proxy.state = SEVERAL
        admin = proxy.admin if snapshot is None else replace(proxy.admin, snapshot=lambda: snapshot)
        port = AdminPort(admin, lambda _place: None)
        url = f"http://127.0.0.1:{await port.start('127.0.0.1', 0)}/"
        await browser.emulate()
        await browser.open(url)
        yield url
        await browser.open("about:blank")
        await port.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_everything_that_is_the_matter_with_an_organisation_is_in_its_row(
    window: Browser, width: int, dark: bool
) -> None:
    async with opened(window):
        await window.emulate(width=width, dark=dark)
        row = await row_of(window, "acme", "unauthorised")
        said = [
            "unauthorised",
            "wrong_tenant, since 11:59:05",
            "held: offline",
            "1 min 30 s, until 12:01:35",
            "held for files: failing",
            "finding out with one request",
            "day spent",
            "waiting long",
            "failing",
        ]
        assert [text for text in said if text not in row] == []
        assert sorted(map(row.index, said[:7])) == [*map(row.index, said[:7])]
        assert "calm" in await row_of(window, "zenith", "calm")
        assert await window.run(LOW_CONTRAST) == []
        assert await window.run("return document.documentElement.scrollWidth") <= width


async def test_states_that_end_leave_the_row(window: Browser) -> None:
    async for proxy in serve(TOKEN):
        proxy.state = SEVERAL
        port = AdminPort(proxy.admin, lambda _place: None)
        await window.open(f"http://127.0.0.1:{await port.start('127.0.0.1', 0)}/")
        await row_of(window, "acme", "held for files")
        proxy.state = replace(SEVERAL, holds=(), tenants=(tenant_view(),))
        badges = "[...document.querySelectorAll('#rows .state .badge')].map((badge) => badge.textContent)"
        await window.until(f"return {badges}.join() === 'unauthorised,failing'")
        assert "No longer held: " in str(
            await window.run("return document.getElementById('news').textContent")
        )
        await window.open("about:blank")
        await port.close()


async def test_before_it_knows_anything_it_says_that_it_waits_and_claims_nothing(window: Browser) -> None:
    known = list[bool]()

    def late() -> Steps[Snapshot]:
        while not known:
            yield
        return Snapshot()

    async with opened(window, late()):
        text = await window.text()
        assert "No call yet" not in text
        assert text.count("Waiting for the first numbers.") == 2
        assert await window.run(CONNECTION) == "connecting"
        known.append(True)
        await window.until("return document.body.innerText.includes('No call yet.')")


async def test_who_finds_no_place_on_the_stream_asks_for_the_same_again_and_again(window: Browser) -> None:
    async for proxy in serve(TOKEN):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(WATCHERS_MAX):
                await stack.enter_async_context(proxy.client.get("/events"))
            await window.requested()
            await window.open(f"{proxy.client._base_url}")
            await window.until(f"{CONNECTION}.startsWith('every 2 s, ')")
            await row_of(window, "acme", "held: offline")
            proxy.state = SEVERAL
            await row_of(window, "acme", "unauthorised")
            assert {url.rpartition("/")[2] for url in await window.requested()} >= {"events", "status?page"}
            await window.open("about:blank")
        refused = await window.complaints()
        assert len(refused) == 1
        assert "503" in refused[0]
