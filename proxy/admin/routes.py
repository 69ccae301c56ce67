"""The admin port: health, metrics, status, and the one call that changes something, clearing a hold.

It never shares the callers' port, but reads requests as strictly. Reading needs no credentials, so it listens
on the loopback address unless told otherwise; clearing a hold needs the bearer token from the settings.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from proxy.admin.events import STALLED_SECONDS, WATCHERS_MAX, Events
from proxy.admin.exposition import exposition
from proxy.admin.page import CONTENT_SECURITY_POLICY, PAGE, as_shown
from proxy.clock import Clock
from proxy.core.answers.marks import date
from proxy.core.model import Headers, HoldKey, Scope, Snapshot
from proxy.core.wire.heads import reason_phrase
from proxy.core.wire.strict import Own, Refusal
from proxy.http.body import BodyProblem, BodyStore
from proxy.http.callers import ONLY_PRIVATE, Call, Downstream
from proxy.observe.last_failures import FailureView
from proxy.observe.status import Status, as_json, encoded
from proxy.observe.steps import Steps, paced

BODY_MAX = 4096
_HEADERS: Headers = (
    (b"Cache-Control", b"no-store"),
    (b"Server", b"xero-proxy"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Content-Security-Policy", CONTENT_SECURITY_POLICY.encode()),
)
_READ = ("GET", "HEAD")
PATHS = {
    b"/": _READ,
    b"/events": ("GET",),
    b"/livez": _READ,
    b"/readyz": _READ,
    b"/metrics": _READ,
    b"/status": _READ,
    b"/holds/clear": ("POST",),
}
"""What each path can be asked."""
_NO_SUCH_PATH = f"The paths are {b', '.join(PATHS).decode()}."
_UNKEPT = {
    BodyProblem.TOO_LARGE: (413, f"The body is longer than {BODY_MAX} bytes."),
    BodyProblem.STALLED: (408, "The rest of the body did not come in time."),
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

Shown = tuple[int, Headers, bytes]
"""Status, fields and body of an answer."""


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

    def metrics(self, accept: str) -> Steps[Shown]:
        """The answer to a scrape."""
        gauges = yield from self.gauges()
        content_type, steps = exposition(chain(self.registry.collect(), gauges), accept)
        return 200, (_content_type(content_type),), (yield from steps)

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
        self._events = Events(admin.shown, admin.clock)
        self._bodies = BodyStore(BODY_MAX, BODY_MAX)
        self._downstream = Downstream(
            self._handle, self._refused, clock=admin.clock, crashed=crashed, write_timeout=STALLED_SECONDS
        )

    async def start(self, host: str, port: int, own: Own = ONLY_PRIVATE) -> int:
        """Listen; return the port. Raises OSError where the address cannot be had."""
        return await self._downstream.start(host, port, own)

    async def close(self) -> None:
        """Let go of everybody."""
        await self._downstream.close()

    async def _handle(self, call: Call) -> None:
        path = call.target.partition(b"?")[0]
        methods = PATHS.get(path)
        if methods is None:
            shown = _problem(404, _NO_SUCH_PATH)
        elif call.method not in methods:
            shown = _problem(
                405, "The path does not know this method.", (b"Allow", ",".join(methods).encode())
            )
        elif path == b"/events" and (watcher := self._events.watcher()):
            headers = self._headers(_content_type("text/event-stream"))
            await call.respond(200, b"OK", headers, rest=watcher)
            return
        else:
            shown = await self._shown(path, call)
        status, headers, body = shown
        await call.respond(status, reason_phrase(status), self._headers(*headers), body)

    def _headers(self, *headers: tuple[bytes, bytes]) -> Headers:
        return (date(self._admin.clock.wall()), *_HEADERS, *headers)

    def _refused(self, kind: str, detail: str, _method: str) -> Shown:
        """The answer to what never became a request. A method that nothing here knows is 501: 405 would have
        to say what the path knows.
        """
        status, headers, body = _problem(501 if kind == Refusal.METHOD else Refusal(kind).status, detail)
        return status, self._headers(*headers), body

    async def _shown(self, path: bytes, call: Call) -> Shown:
        match path:
            case b"/":
                return 200, (_content_type("text/html; charset=utf-8"),), PAGE
            case b"/livez":
                return _text(200, b"alive\n")
            case b"/readyz":
                return (
                    _text(200, b"ready\n") if self._admin.ready() else _text(503, b"starting or draining\n")
                )
            case b"/status" if call.target.endswith(b"?page"):
                return _json(await self._events.latest())
            case b"/status":
                return _json(await paced(self._admin.status(), self._admin.clock))
            case b"/metrics":
                accept = b",".join(call.fields.every(b"accept")).decode("latin-1")
                return await paced(self._admin.metrics(accept), self._admin.clock)
            case b"/holds/clear":
                return await self._clear(call)
            case _:
                return _problem(
                    503, f"{WATCHERS_MAX} others are watching already; /status?page has the same, once."
                )

    async def _clear(self, call: Call) -> Shown:
        if (refusal := _refusal(self._admin.token, call.fields.get(b"authorization", b""))) is not None:
            return refusal
        body = await call.keep_body(self._bodies)
        if isinstance(body, BodyProblem):
            return _problem(*_UNKEPT.get(body, (400, "The body is not well-formed.")))
        key = _hold_key(bytes(body.in_memory or b"") if body else b"")
        if isinstance(key, str):
            return _problem(400, key)
        if not await self._admin.clear_hold(key):
            return _problem(404, "There is no such hold; /status lists those there are.")
        return _json(encoded({"cleared": True}))


def _refusal(token: str, authorization: bytes) -> Shown | None:
    """Why the caller may not change anything; None where it may."""
    scheme, _, given = authorization.partition(b" ")
    same = hmac.compare_digest(given.strip(), token.encode())
    if token and scheme.lower() == b"bearer" and same:
        return None
    detail = "This call needs the admin token as a bearer token."
    if not token:
        detail = "Set XERO_PROXY_ADMIN_TOKEN to allow calls that change something."
    return _problem(401, detail, (b"WWW-Authenticate", b'Bearer realm="xero-proxy admin"'))


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


def _content_type(value: str) -> tuple[bytes, bytes]:
    return b"Content-Type", value.encode()


def _text(status: int, text: bytes) -> Shown:
    return status, (_content_type("text/plain; charset=utf-8"),), text


def _json(text: bytes) -> Shown:
    return 200, (_content_type("application/json"),), text + b"\n"


def _problem(status: int, detail: str, *headers: tuple[bytes, bytes]) -> Shown:
    problem = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return status, (_content_type("application/json"), *headers), encoded(problem) + b"\n"
