"""Headless Chromium through chromedriver, in the plain HTTP of WebDriver."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tests.deploy.tools import tool

PATIENCE = 20.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)
UNTIL = """
    const [condition, done] = [new Function(arguments[0]), arguments[arguments.length - 1]];
    const ask = () => { const value = condition(); value ? done(value) : setTimeout(ask, 20); };
    ask();
"""


class Browser:
    """One window."""

    def __init__(self, client: aiohttp.ClientSession, session: str) -> None:
        self._client = client
        self._session = session

    async def _command(self, method: str, path: str, value: object = None) -> Any:
        return await command(self._client, method, f"/session/{self._session}{path}", value)

    async def open(self, url: str) -> None:
        """Load a page; returns after its load event."""
        await self._command("POST", "/url", {"url": url})

    async def run(self, script: str, *arguments: object) -> Any:
        """What a function body returns; a promise is waited for."""
        return await self._command("POST", "/execute/sync", {"script": script, "args": arguments})

    async def until(self, condition: str) -> Any:
        """Wait until a function body returns something true, which is the result."""
        return await self._command("POST", "/execute/async", {"script": UNTIL, "args": [condition]})

    async def text(self) -> str:
        """What the page says, as a reader sees it."""
        return str(await self.run("return document.body.innerText"))

    async def press(self, *keys: str) -> None:
        """Press keys, one after another, wherever the focus is."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        await self._command("POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": strokes}]})

    async def devtools(self, method: str, **parameters: object) -> Any:
        """A command of the DevTools protocol."""
        return await self._command("POST", "/goog/cdp/execute", {"cmd": method, "params": parameters})

    async def emulate(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Another window or another taste."""
        await self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self) -> bytes:
        """A picture of the window as PNG."""
        taken = await self.devtools("Page.captureScreenshot", format="png")
        return base64.b64decode(taken["data"])

    async def complaints(self) -> list[str]:
        """What the console got since the last call: errors, warnings, breaches of the policy."""
        entries = await self._command("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]

    async def requested(self) -> list[str]:
        """The addresses that pages, other than Chromium's own, asked for since the last call."""
        entries = await self._command("POST", "/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
            and not event["params"]["documentURL"].startswith("chrome:")
        ]


async def command(client: aiohttp.ClientSession, method: str, path: str, value: object = None) -> Any:
    """The value that a WebDriver command gives; AssertionError with the driver's message where it fails."""
    body = None if method in {"GET", "DELETE"} else value or {}
    async with client.request(method, path, json=body) as response:
        answer = json.loads(await response.read())["value"]
        assert response.status == 200, f"{path}: {answer['error']}: {answer['message']}"
        return answer


@contextlib.asynccontextmanager
async def chromedriver() -> AsyncIterator[aiohttp.ClientSession]:
    """Run chromedriver on a port of its own choice; a client of it."""
    path = tool("chromedriver", "chromium-driver")
    process = await asyncio.create_subprocess_exec(
        path, "--port=0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        port = None
        while port is None:
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert line, "chromedriver ended"
            port = re.search(rb"started successfully on port (\d+)", line)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{int(port[1])}", timeout=timeout) as client:
            yield client
    finally:
        process.terminate()
        await process.communicate()


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A new window with an empty profile."""
    binary = tool("chromium", "chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with chromedriver() as client:
            options = {"binary": binary, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                "timeouts": {"script": int(PATIENCE * 1000), "pageLoad": int(PATIENCE * 1000)},
            }
            made = await command(client, "POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            try:
                yield Browser(client, made["sessionId"])
            finally:
                await command(client, "DELETE", f"/session/{made['sessionId']}")
