"""Lost connections on the status page, in headless Chromium."""

from __future__ import annotations

from tests.deploy.browser import chromium
from tests.deploy.test_status_page import ask, row_of, watched
from tests.e2e.harness import request


async def test_an_organisation_that_was_disconnected_comes_first_and_a_lost_app_has_a_table_of_its_own() -> (
    None
):
    async with chromium() as browser, watched(browser) as (proxy, simulator):
        for tenant in ("acme", "zenith"):
            await ask(proxy, tenant)
        simulator.fail_next(1, "disconnected", tenant="zenith")
        assert (await ask(proxy, "zenith")).status == 403
        assert "wrong_tenant, since " in await row_of(browser, "zenith", "unauthorised")
        first = "return document.querySelector('#rows tr').innerText"
        assert str(await browser.run(first)).startswith("zenith")
        table = "return document.getElementById('connections').innerText"
        assert await browser.run(table) == ""
        basic, form = b"Authorization: Basic Ym9va3M6eA==", b"Content-Type: application/x-www-form-urlencoded"
        await proxy.ask(request(b"POST /connect/revocation", basic, form, body=b"token=spent"))
        body = b"grant_type=refresh_token&refresh_token=spent"
        assert (await proxy.ask(request(b"POST /connect/token", basic, form, body=body))).status == 400
        shown = await browser.until(table)
        assert "books" in shown
        assert "connection lost: invalid_grant, since " in shown
        await ask(proxy, "zenith")
        await row_of(browser, "zenith", "failing")  # it did so a moment ago
