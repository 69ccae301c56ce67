"""The status page in headless Chromium, before a real sidecar and a simulated Xero."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from proxy.admin.routes import AdminPort
from proxy.simulator.server import Simulator
from tests.admin_port import TOKEN, serve
from tests.deploy.browser import Browser, chromium
from tests.e2e.harness import Reply, Running, both, request
from tests.inprocess import token

LOAD_MILLISECONDS = 1000
LOW_CONTRAST = """
    const luminance = (colour) => {
        const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (colour !== "rgba(0, 0, 0, 0)") return colour;
        }
    };
    const ratio = (one, other) => {
        const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const written = [...document.querySelectorAll("body *:not(script)")]
        .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
        .map((node) => [node.textContent.trim(), getComputedStyle(node).color, behind(node)]);
    const find = document.getElementById("find");
    written.push(["placeholder", getComputedStyle(find, "::placeholder").color, behind(find)]);
    return written.filter(([, ink, paper]) => ratio(ink, paper) < 4.5);
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def window() -> AsyncIterator[Browser]:
    async with chromium() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def browser(window: Browser) -> AsyncIterator[Browser]:
    """The window, as wide and as light as usual, with nothing in its logs; at the end it is left empty."""
    await window.emulate()
    await window.complaints()
    await window.requested()
    yield window
    await window.open("about:blank")


@contextlib.asynccontextmanager
async def watched(browser: Browser, **settings: object) -> AsyncIterator[tuple[Running, Simulator]]:
    """A sidecar whose page is open; to the end it may complain of nothing and ask nobody else."""
    async with both({}, **settings) as (proxy, simulator):
        url = f"http://127.0.0.1:{proxy.car.admin_port}/"
        await browser.open(url)
        await browser.until("return document.getElementById('state').textContent === 'ready'")
        yield proxy, simulator
        assert await browser.complaints() == []
        asked = [address for address in await browser.requested() if not address.startswith("data:")]
        assert set(asked) <= {url, f"{url}events", f"{url}holds/clear"}
        assert len(asked) >= 2
        await browser.open("about:blank")


async def ask(proxy: Running, tenant: str, *fields: bytes) -> Reply:
    """One call of an organisation of the app `books`."""
    of = (b"Authorization: " + token("books"), b"Xero-Tenant-Id: " + tenant.encode())
    return await proxy.ask(request(b"GET /api.xro/2.0/Contacts", *of, *fields))


async def row_of(browser: Browser, tenant: str, having: str = "") -> str:
    """The text of an organisation's row, once it has `having` in it."""
    rows = "[...document.querySelectorAll('#rows tr')].map((row) => row.innerText)"
    found = f"{rows}.find((text) => text.startsWith('{tenant}') && text.includes('{having}'))"
    return str(await browser.until(f"return {found}"))


async def shown(browser: Browser, name: str) -> str:
    return str(await browser.run(f"return document.getElementById('{name}').textContent"))


async def test_it_shows_budgets_lines_and_the_apps_own_limit(browser: Browser) -> None:
    async with watched(browser, tenant_minute_limit=3, tenant_day_limit=1000) as (proxy, _):
        assert "No call yet." in await browser.text()
        for _ in range(3):
            await ask(proxy, "acme")
        async with proxy.caller() as caller:
            caller.writer.write(
                request(b"GET /", b"Xero-Tenant-Id: acme", b"Authorization: " + token("books"))
            )
            row = await row_of(browser, "acme", "next in")
            for text in (
                "books",
                "waiting",
                "0 of 3",
                "997 of 1,000",
                "1, oldest ",
                "for its minute limit, ",
            ):
                assert text in row
            caller.leave()
        assert "caller_left (499) × 1, " in await row_of(browser, "acme", "calm")
        text = await browser.text()
        assert "9,997 of 10,000" in text
        widths = "return [...document.querySelectorAll('#rows .fill')].map((bar) => bar.style.width)"
        assert await browser.run(widths) == ["0%", "100%"]


async def test_an_organisation_that_goes_offline_comes_first_with_its_hold_and_failures(
    browser: Browser,
) -> None:
    async with watched(browser, admin_token=TOKEN) as (proxy, simulator):
        for tenant in ("acme", "zenith"):
            await ask(proxy, tenant)
        await row_of(browser, "acme")
        assert await browser.run("return document.title") == "xero-proxy"
        simulator.offline("zenith")
        assert (await ask(proxy, "zenith", b"Prefer: wait=1")).status == 503
        row = await row_of(browser, "zenith", "held: offline")
        assert "min" in row
        assert "refused_offline (503) × 1, " in row
        first = "return document.querySelector('#rows tr').innerText"
        assert str(await browser.run(first)).startswith("zenith")
        assert await browser.run("return document.title") == "1 hold · xero-proxy"
        assert await shown(browser, "total-holds") == "1"
        assert await shown(browser, "news") == "Now held: zenith: offline."
        await browser.until("return !document.querySelector('#rows tr').innerText.includes('5 min 0 s')")
        (hold,) = (await proxy.status())["holds"]
        assert hold["tenant"] == "zenith"
        await clear(browser, TOKEN)
        await browser.until("return !document.querySelector('.held')")
        assert await shown(browser, "news") == "No longer held: zenith: offline."


async def clear(browser: Browser, key: str) -> int:
    """The status of an attempt to clear the hold on `zenith` from the page itself."""
    status: int = await browser.run(
        "const headers = arguments[0] ? { Authorization: `Bearer ${arguments[0]}` } : {};"
        "const body = JSON.stringify({ scope: 'tenant', app: 'books', tenant: 'zenith' });"
        "return fetch('/holds/clear', { method: 'POST', headers, body }).then((answer) => answer.status)",
        key,
    )
    return status


@pytest.mark.parametrize("configured", ["", TOKEN])
async def test_without_the_token_no_hold_is_cleared(browser: Browser, configured: str) -> None:
    async with watched(browser, admin_token=configured) as (proxy, simulator):
        simulator.offline("zenith")
        await ask(proxy, "zenith", b"Prefer: wait=1")
        await row_of(browser, "zenith", "held: offline")
        for key in ("", "wrong"):
            assert await clear(browser, key) == 401
        assert len((await proxy.status())["holds"]) == 1
        refused = await browser.complaints()
        assert len(refused) == 2
        assert all("401 (Unauthorized)" in complaint for complaint in refused)


async def test_a_tenant_that_is_markup_is_text(browser: Browser) -> None:
    names = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "'\"><b>")
    async with watched(browser) as (proxy, simulator):
        for name in names:
            await ask(proxy, name)
            simulator.offline(name)
            await ask(proxy, name, b"Prefer: wait=1")
        await browser.until("return document.querySelectorAll('#rows .held').length === 4")
        found = await browser.run(
            "return [...document.querySelectorAll('#rows th > span')].map((name) => name.textContent)"
        )
        assert set(found) == set(names)
        assert await browser.run("return document.querySelectorAll('img, b').length") == 0
        assert await browser.run("return document.querySelectorAll('script').length") == 1


async def test_with_500_organisations_it_loads_in_under_a_second(browser: Browser) -> None:
    async with watched(browser) as (proxy, simulator):
        for start in range(0, 500, 50):
            await asyncio.gather(*(ask(proxy, f"org-{number:03}") for number in range(start, start + 50)))
        simulator.offline("org-321")
        await ask(proxy, "org-321", b"Prefer: wait=1")
        await row_of(browser, "org-321", "held: offline")
        await browser.run("location.reload()")
        whole = "document.querySelectorAll('#rows tr').length === 500"
        assert await browser.until(f"return {whole} && performance.now()") < LOAD_MILLISECONDS
        assert str(await browser.run("return document.querySelector('#rows tr').innerText")).startswith(
            "org-321"
        )
        await browser.run("document.getElementById('find').focus()")
        await browser.press(*"ORG-12")
        await browser.until("return document.querySelectorAll('#rows tr').length === 10")


async def test_a_keyboard_is_enough(browser: Browser) -> None:
    tab, enter, space = "\ue004", "\ue007", " "
    focused = "return document.activeElement.id || document.activeElement.textContent"
    async with watched(browser) as (proxy, simulator):
        await ask(proxy, "acme")
        await row_of(browser, "acme", "calm")
        order = []
        for _ in range(5):
            await browser.press(tab)
            order.append(await browser.run(focused))
        assert order == ["Skip to the organisations", "pause", "find", "JSON", "Metrics"]
        await browser.run("document.querySelector('.skip').focus()")
        await browser.press(enter)
        assert await browser.run(focused) == "organisations"
        await browser.run("document.getElementById('pause').focus()")
        await browser.press(space)
        await browser.until("return document.getElementById('connection').textContent.startsWith('paused')")
        simulator.offline("acme")
        await ask(proxy, "acme", b"Prefer: wait=1")
        assert "held" not in await row_of(browser, "acme")
        await browser.press(space)
        await row_of(browser, "acme", "held: offline")


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_screen_reader_finds_landmarks_and_a_table(browser: Browser, width: int) -> None:
    async with watched(browser) as (proxy, _):
        await browser.emulate(width=width)
        await ask(proxy, "acme")
        await row_of(browser, "acme", "calm")
        nodes = (await browser.devtools("Accessibility.getFullAXTree"))["nodes"]
    named = [(said(node, "role"), said(node, "name")) for node in nodes if not node["ignored"]]
    roles = [role for role, _ in named]
    for landmark in ("banner", "main", "contentinfo"):
        assert roles.count(landmark) == 1
    for found in (
        ("region", "Organisations"),
        ("table", "Organisations"),
        ("columnheader", "Day left"),
        ("rowheader", "acme books"),
        ("button", "Pause"),
        ("searchbox", "Find an organisation or app"),
    ):
        assert found in named
    assert roles.count("cell") == 6 + 1
    assert roles.count("heading") == 4
    assert roles.count("status") == 1


def said(node: dict[str, Any], what: str) -> str:
    return str(node.get(what, {}).get("value", ""))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_it_can_be_read_on_a_phone_and_in_the_dark(browser: Browser, width: int, dark: bool) -> None:
    async with watched(browser, tenant_minute_limit=20, tenant_day_limit=2) as (proxy, simulator):
        await browser.emulate(width=width, dark=dark)
        await ask(proxy, "calm" * 25)
        await ask(proxy, "spent")
        await ask(proxy, "spent")
        simulator.offline("held")
        await ask(proxy, "held", b"Prefer: wait=1")
        await ask(proxy, "held", b"Xero-Tenant-Id: " + b"w" * 101)
        await row_of(browser, "held", "held: offline")
        await row_of(browser, "spent", "day spent")
        assert await browser.run(LOW_CONTRAST) == []
        assert await browser.run("return document.documentElement.scrollWidth") <= width
        background = await browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(17, 22, 27)") == dark


async def test_it_says_when_it_has_lost_the_proxy_and_goes_on_when_that_is_back(browser: Browser) -> None:
    async for proxy in serve(TOKEN):
        admin = AdminPort(proxy.admin, lambda _place: None)
        port = await admin.start("127.0.0.1", 0)
        await browser.open(f"http://127.0.0.1:{port}/")
        said_so = "return document.getElementById('connection').textContent.startsWith"
        await browser.until(f"{said_so}('live')")
        await admin.close()
        await browser.until(f"{said_so}('no connection')")
        assert "acme" in await browser.text()
        admin = AdminPort(proxy.admin, lambda _place: None)
        await admin.start("127.0.0.1", port)
        await browser.until(f"{said_so}('live')")
        await admin.close()
