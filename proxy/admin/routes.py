"""The admin port: health, metrics, status, and the one call that changes something, clearing a hold.

aiohttp's server reads the requests, which is good enough where whoever asks is an operator's own program: of
what the callers' port must not do, a head that comes too slowly is bounded by the time for an idle connection
alone. Whose name may be asked for is as strict as there, so that no page in a browser gets at it. Reading
needs no credentials, so it listens on the loopback address unless told otherwise; clearing a hold needs the
bearer token from the settings.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import chain

import orjson
from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from proxy.admin.events import WATCHERS_MAX, Events
from proxy.admin.exposition import exposition
from proxy.admin.page import CONTENT_SECURITY_POLICY, PAGE, as_shown
from proxy.clock import Clock
from proxy.core.answers.marks import date
from proxy.core.model import HoldKey, Scope, Snapshot
from proxy.core.wire.fields import Fields
from proxy.core.wire.strict import Own, Problem, Refusal, RequestHead, check_request
from proxy.http.callers import ONLY_PRIVATE, place_of
from proxy.http.listener import Listener
from proxy.observe.last_failures import FailureView
from proxy.observe.status import Status, as_json, encoded
from proxy.observe.steps import Steps, paced

BODY_MAX = 4096
PIECE = 64 * 1024
IDLE_SECONDS = 75.0
"""For a connection without a request, and for the head of one: the library has no other bound for that."""
BODY_SECONDS = 30.0
STALLED_SECONDS = 20.0
"""Whoever takes nothing of an answer for so long has gone."""
CLOSE_SECONDS = 0.02
"""For an answer that is under way at the end; who watches is not waited for."""
_HEAD = b"HEAD "
JSON = "application/json"
_SILENT = logging.getLogger("aiohttp.unheard")
_SILENT.disabled = True
"""What the library would log is what somebody sent wrongly, as an error with its text."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Server": "xero-proxy",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}
_NAMED_BY: dict[Scope, set[str]] = {
    Scope.TENANT: {"app", "tenant"},
    Scope.TENANT_API: {"app", "tenant", "api"},
    Scope.APP: {"app"},
    Scope.API: {"api"},
    Scope.HOST: set(),
}
"""What names a hold of each scope; the rest stays empty."""
_SHOWN = frozenset({"reason", "until", "seconds", "probing"})
"""What `/status` says of a hold besides."""


@dataclass(frozen=True, slots=True)
class Admin:
    """What the admin port shows and does. `token` is empty where clearing holds is not allowed.

    `registry` has the metrics that cost little to make, `gauges` makes the others. `failures` gives what
    failed last as of a moment of the clock, `ready` says whether requests are accepted; `clear_hold` ends a
    hold and is False where there was none.
    """

    registry: CollectorRegistry
    gauges: Callable[[], Steps[list[Metric]]]
    snapshot: Callable[[], Steps[Snapshot]]
    failures: Callable[[float], tuple[FailureView, ...]]
    clear_hold: Callable[[HoldKey], Awaitable[bool]]
    ready: Callable[[], bool]
    clock: Clock
    started: float
    version: str
    token: str = ""

    def status(self) -> Steps[bytes]:
        """The text of `/status`."""
        return (yield from as_json((yield from self._look())))

    def shown(self) -> Steps[bytes]:
        """What the page shows."""
        return encoded((yield from as_shown((yield from self._look()))))

    def metrics(self, accept: str) -> Steps[tuple[str, bytes]]:
        """The content type and the text of a scrape."""
        gauges = yield from self.gauges()
        content_type, steps = exposition(chain(self.registry.collect(), gauges), accept)
        return content_type, (yield from steps)

    def _look(self) -> Steps[Status]:
        now, wall = self.clock.now(), self.clock.wall()
        return Status(
            (yield from self.snapshot()),
            self.version,
            self.ready(),
            wall,
            max(0.0, now - self.started),
            self.failures(now),
        )


class AdminPort:
    """Serves `admin` between `start` and `close`."""

    def __init__(self, admin: Admin, crashed: Callable[[str], None]) -> None:
        self._admin = admin
        self._crashed = crashed
        self._own = ONLY_PRIVATE
        self._events = Events(admin.shown, admin.clock)
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None

    def application(self) -> web.Application:
        """The routes, and what all of them share."""
        application = web.Application(middlewares=[self._guard], client_max_size=BODY_MAX)
        application.on_response_prepare.append(self._mark)
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/events", self._watch, allow_head=False),
                web.get("/livez", self._alive),
                web.get("/readyz", self._is_ready),
                web.get("/metrics", self._metrics),
                web.get("/status", self._status),
                web.post("/holds/clear", self._clear),
            ]
        )
        return application

    async def start(self, host: str, port: int, own: Own = ONLY_PRIVATE) -> int:
        """Listen; return the port. Raises OSError where the address cannot be had."""
        self._own = Own(own.hosts | {host.lower().encode()}, own.domains)
        self._runner = web.AppRunner(
            self.application(), handler_cancellation=True, shutdown_timeout=CLOSE_SECONDS, logger=_SILENT
        )
        await self._runner.setup()
        server = self._runner.server
        if server is None:
            raise RuntimeError("a runner that is set up has a server")
        connection = partial(
            _Connection,
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_SECONDS,
            access_log=_SILENT,
            logger=_SILENT,
            auto_decompress=False,
        )
        self._listener = Listener(connection, lambda: len(server.connections), self._admin.clock)
        try:
            return await self._listener.start(host, port)
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of everybody."""
        listener, runner = self._listener, self._runner
        if listener is not None:
            listener.close()
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what is no good request, in JSON whatever goes wrong, and nobody who takes no answer."""
        response = await self._answer(request, handler)
        async with _in_time(request):
            await response.prepare(request)
            await response.write_eof()
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            found = check_request(_head(request), self._own)
            if isinstance(found, Problem):
                status = 501 if found.kind is Refusal.METHOD else found.kind.status
                refused = _problem(status, found.detail)
                refused.force_close()
                return refused
            return await handler(request)
        except web.HTTPNotFound:
            return _problem(404, f"The paths are {', '.join(_paths(request.app))}.")
        except web.HTTPMethodNotAllowed as error:
            allowed = {"Allow": ",".join(sorted(error.allowed_methods))}
            return _problem(405, "The path does not know this method.", allowed)
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, f"The body is longer than {BODY_MAX} bytes.")
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a bug must not reach who asked
            self._crashed(place_of(error))
            if request.writer.output_size:
                raise ConnectionError("an answer has begun already") from None
            return _problem(500, "The proxy failed.")

    async def _mark(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)
        response.headers["Date"] = date(self._admin.clock.wall())[1].decode()

    async def _page(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=PAGE, headers={"Content-Type": "text/html; charset=utf-8"})

    async def _alive(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="alive\n")

    async def _is_ready(self, _request: web.Request) -> web.StreamResponse:
        if self._admin.ready():
            return web.Response(text="ready\n")
        return web.Response(text="starting or draining\n", status=503)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        accept = ",".join(request.headers.getall("Accept", ()))
        kind, text = await paced(self._admin.metrics(accept), self._admin.clock)
        return await self._long(request, kind, text)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if request.query_string == "page":
            text = await self._events.latest()
        else:
            text = await paced(self._admin.status(), self._admin.clock)
        return await self._long(request, JSON, text + b"\n")

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        with self._events.place() as free:
            if not free:
                return _problem(
                    503, f"{WATCHERS_MAX} others are watching already; /status?page has the same, once."
                )
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            told = b""
            while True:
                told = await self._events.after(told)
                async with _in_time(request):
                    await response.write(b"data: %b\n\n" % told)

    async def _clear(self, request: web.Request) -> web.StreamResponse:
        if (refusal := _refusal(self._admin.token, request)) is not None:
            return refusal
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            return _problem(408, "The rest of the body did not come in time.")
        except web.RequestPayloadError:
            return _problem(400, "The body is not well-formed.")
        key = _hold_key(body)
        if isinstance(key, str):
            return _problem(400, key)
        if not await self._admin.clear_hold(key):
            return _problem(404, "There is no such hold; /status lists those there are.")
        return web.Response(body=encoded({"cleared": True}) + b"\n", content_type=JSON)

    async def _long(self, request: web.Request, kind: str, body: bytes) -> web.StreamResponse:
        """An answer that many organisations make long: in pieces, each at the pace of whoever reads."""
        if len(body) <= PIECE or request.method == "HEAD":
            return web.Response(body=body, headers={"Content-Type": kind})
        response = web.StreamResponse(headers={"Content-Type": kind, "Content-Length": str(len(body))})
        await response.prepare(request)
        whole = memoryview(body)
        for start in range(0, len(body), PIECE):
            async with _in_time(request):
                await response.write(whole[start : start + PIECE])
        return response


class _Connection(web.RequestHandler):
    """As the library's, but for what never became a request: it is answered in JSON and never quoted. Of what
    it was to become only so much is known as tells whether the answer may have a body.
    """

    __slots__ = ("_begun", "_last")

    def data_received(self, data: bytes) -> None:
        """Keep how the connection and what came last begin."""
        begun: bytes = getattr(self, "_begun", b"")
        self._begun = begun + data[: len(_HEAD) - len(begun)]
        self._last = data[: len(_HEAD)]
        super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - the library's signature
        message: str | None = None,  # noqa: ARG002 - as above
    ) -> web.StreamResponse:
        """The answer; the connection ends with it."""
        if request.writer.output_size:
            raise ConnectionError("an answer has begun already")
        answer = _problem(status, "This is not HTTP that the admin port understands.")
        if _HEAD in {self._begun, self._last}:
            answer.body = None
        answer.headers.update(_HEADERS)
        answer.force_close()
        return answer


@asynccontextmanager
async def _in_time(request: web.Request) -> AsyncIterator[None]:
    """The block sends something; who does not take it in time loses the connection, by a ConnectionError."""
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionError("the answer is not taken") from None


def _head(request: web.Request) -> RequestHead:
    """The request as the strict rules of both ports look at it."""
    fields = Fields(tuple(request.raw_headers))
    target = request.raw_path.encode("utf-8", "surrogateescape")
    return RequestHead(
        request.method, target, fields, request.version < HttpVersion11, request.keep_alive, upgrade=False
    )


def _paths(application: web.Application) -> list[str]:
    return list(dict.fromkeys(resource.canonical for resource in application.router.resources()))


def _refusal(token: str, request: web.Request) -> web.Response | None:
    """Why the caller may not change anything; None where it may."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if token and scheme.lower() == "bearer" and same:
        return None
    detail = "This call needs the admin token as a bearer token."
    if not token:
        detail = "Set XERO_PROXY_ADMIN_TOKEN to allow calls that change something."
    return _problem(401, detail, {"WWW-Authenticate": 'Bearer realm="xero-proxy admin"'})


def _hold_key(body: bytes) -> HoldKey | str:
    """The hold that a JSON body names, or a sentence that says what is wrong with it."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "The body is not JSON."
    fields = value if isinstance(value, dict) else {}
    named = {name: text for name, text in fields.items() if name not in _SHOWN and text != ""}
    try:
        scope = Scope(named.pop("scope", None))
    except ValueError:
        return "The body needs a scope: tenant, tenant_api, app, api or host."
    names = _NAMED_BY[scope]
    if not named.keys() <= names or not all(isinstance(text, str) for text in named.values()):
        named_by = " and ".join(sorted(names)) or "nothing else"
        return f"A hold of scope {scope} is named by {named_by}, each a text."
    return HoldKey(scope, **named)


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    problem = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body = encoded(problem) + b"\n"
    return web.Response(status=status, body=body, headers=headers, content_type=JSON)
