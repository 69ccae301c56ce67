"""The admin port: health, metrics, status, and the one call that changes something, clearing a hold.

It never shares the callers' port. Reading needs no credentials, so it listens on the loopback address unless
told otherwise; clearing a hold needs the bearer token from the settings.

The HTTP server is aiohttp's, whose own error pages may quote a malformed request to whoever sent it.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry

from proxy.clock import Clock
from proxy.core.model import HoldKey, Scope, Snapshot
from proxy.events import WATCHERS_MAX, Events
from proxy.exposition import exposition
from proxy.last_failures import FailureView
from proxy.page import CONTENT_SECURITY_POLICY, PAGE, as_shown
from proxy.status import Status, as_json, encoded

BODY_MAX = 4096
SHUTDOWN_SECONDS = 1.0
SCRAPE_PATIENCE_SECONDS = 0.1
"""A scrape lets others go between its slices until it has taken so long; then they are so many that it would
wait for seconds, and the rest of it delays them by some 40 ms.
"""
_HEADERS = {
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.SERVER: "xero-proxy",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}
_DETAILS = {
    404: "The paths are /, /events, /livez, /readyz, /metrics, /status and /holds/clear.",
    405: "The path does not know this method.",
    413: f"The body is longer than {BODY_MAX} bytes.",
}
_NAMED_BY = {Scope.TENANT: {"app", "tenant"}, Scope.APP: {"app"}, Scope.API: {"api"}}
"""What names a hold of each scope; the rest stays empty."""


@dataclass(frozen=True, slots=True)
class Admin:
    """What the admin port shows and does. `token` is empty where clearing holds is not allowed.

    `failures` gives what failed last as of a moment of the clock, `ready` says whether requests are accepted;
    `clear_hold` ends a hold and is False where there was none.
    """

    registry: CollectorRegistry
    snapshot: Callable[[], Snapshot]
    failures: Callable[[float], tuple[FailureView, ...]]
    clear_hold: Callable[[HoldKey], Awaitable[bool]]
    ready: Callable[[], bool]
    clock: Clock
    started: float
    version: str
    token: str = ""

    def status(self) -> Status:
        """The value of `/status` and of the page."""
        now = self.clock.now()
        return Status(
            self.snapshot(),
            self.version,
            self.ready(),
            self.clock.wall(),
            max(0.0, now - self.started),
            self.failures(now),
        )


async def start_admin(admin: Admin, host: str, port: int) -> web.AppRunner:
    """Listen. `runner.addresses` has the bound addresses, `await runner.cleanup()` stops it.

    Raises OSError where the address cannot be bound.
    """
    runner = web.AppRunner(application(admin), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


def application(admin: Admin) -> web.Application:
    """The routes."""
    app = web.Application(middlewares=[_errors_as_json], client_max_size=BODY_MAX)
    app.on_response_prepare.append(_add_headers)
    pages = _Pages(admin)
    app.on_shutdown.append(pages.close)
    app.add_routes(
        [
            web.get("/", pages.page),
            web.get("/events", pages.events, allow_head=False),
            web.get("/livez", pages.livez),
            web.get("/readyz", pages.readyz),
            web.get("/metrics", pages.metrics),
            web.get("/status", pages.status),
            web.post("/holds/clear", pages.clear),
        ]
    )
    return app


class _Pages:
    """One method for each path."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._events = Events(lambda: encoded(as_shown(admin.status())), admin.clock)

    async def close(self, _app: web.Application) -> None:
        self._events.close()

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        if self._admin.ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="starting or draining\n")

    async def status(self, _request: web.Request) -> web.Response:
        return _json(as_json(self._admin.status()))

    async def page(self, _request: web.Request) -> web.Response:
        return web.Response(body=PAGE, content_type="text/html", charset="utf-8")

    async def events(self, request: web.Request) -> web.StreamResponse:
        watched = await self._events.watch(request)
        if watched is None:
            return _problem(503, f"{WATCHERS_MAX} others are watching already; /status has the same, once.")
        return watched

    async def metrics(self, request: web.Request) -> web.Response:
        accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
        content_type, slices = exposition(self._admin.registry, accept)
        text = bytearray()
        patient_until = self._admin.clock.now() + SCRAPE_PATIENCE_SECONDS
        for part in slices:
            text += part
            if (now := self._admin.clock.now()) < patient_until:
                await self._admin.clock.sleep_until(now)
        return web.Response(body=bytes(text), headers={hdrs.CONTENT_TYPE: content_type})

    async def clear(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(self._admin.token, request)) is not None:
            return refusal
        key = _hold_key(await request.read())
        if isinstance(key, str):
            return _problem(400, key)
        if not await self._admin.clear_hold(key):
            return _problem(404, "There is no such hold; /status lists those there are.")
        return _json({"cleared": True})


def _refusal(token: str, request: web.Request) -> web.Response | None:
    """Why the caller may not change anything; None where it may."""
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    expected = token.encode()
    same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), expected)
    if token and scheme.lower() == "bearer" and same:
        return None
    detail = "This call needs the admin token as a bearer token."
    if not token:
        detail = "Set XERO_PROXY_ADMIN_TOKEN to allow calls that change something."
    response = _problem(401, detail)
    response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="xero-proxy admin"'
    return response


def _hold_key(body: bytes) -> HoldKey | str:
    """The hold that a JSON body names, or a sentence that says what is wrong with it."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "The body is not JSON."
    fields = value if isinstance(value, dict) else {}
    named = {name: text for name, text in fields.items() if text != ""}
    try:
        scope = Scope(named.pop("scope", None))
    except ValueError:
        return "The body needs a scope: tenant, app or api."
    names = _NAMED_BY[scope]
    if not named.keys() <= names or not all(isinstance(text, str) for text in named.values()):
        return f"A hold of scope {scope} is named by {' and '.join(sorted(names))}, each a text."
    return HoldKey(scope, **named)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encoded(value) + b"\n", content_type="application/json")


def _problem(status: int, detail: str) -> web.Response:
    return _json({"title": HTTPStatus(status).phrase, "status": status, "detail": detail}, status)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Put aiohttp's own refusals (404, 405, 413) in the shape of the others."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        response = _problem(error.status, _DETAILS.get(error.status, f"{error.reason}."))
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
