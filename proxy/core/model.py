"""The nouns that every other file uses. Values only: nothing here decides, waits or reads a clock.

Times are seconds of the monotonic clock (`proxy.clock`), durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields as they were received: order, repetition, case and bytes are kept."""


SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REPEATABLE = SAFE | {"DELETE"}
"""Methods of requests that may be executed twice."""


class Execution(StrEnum):
    """What is known about whether Xero executed an attempt. The retry table's columns."""

    NEVER_SENT = "never_sent"
    """No byte of the request left this process."""
    REJECTED = "rejected"
    """Xero said no before it did anything: a limit, an offline organisation, maintenance."""
    UNKNOWN = "unknown"
    """Sent, and it may or may not have been executed."""
    CACHED = "cached"
    """As unknown, and Xero keeps this very answer under the `Idempotency-Key` for its life."""
    DONE = "done"
    """The answer is final."""


class Limit(StrEnum):
    """Xero's four limits, spelled as `X-Rate-Limit-Problem` spells them."""

    MINUTE = "minute"
    DAY = "day"
    CONCURRENT = "concurrent"
    APP_MINUTE = "appminute"


class Scope(StrEnum):
    """Whom a hold stops: one organisation of one app, its use of one API family, one app, one API family for
    everybody, or everything that is for Xero's API host.
    """

    TENANT = "tenant"
    TENANT_API = "tenant_api"
    APP = "app"
    API = "api"
    HOST = "host"


class Host(StrEnum):
    """Which of Xero's two hosts a request is for."""

    API = "api"
    IDENTITY = "identity"


class Terms(NamedTuple):
    """What the fields of a request say, whatever its method and target.

    `tenant` is None where no organisation can be meant, `wait` the seconds that the caller prefers to wait at
    most, `key` its idempotency key; None where it gives none. `credentials` says whether there are any,
    `headers` are those that go on to Xero, `utf8` whether all of their values are.
    """

    app: str
    tenant: str | None
    wait: float | None
    urgency: int
    key: bytes | None
    overrides: tuple[str, ...]
    credentials: bool
    headers: Headers
    utf8: bool


class Route(NamedTuple):
    """Where a request goes and whose limits it uses.

    `tenant` is None where only the app's limit counts (`/connections`); `limited` is False where
    none does (the identity host). `template` is the path with ids replaced, for logs. `keys` is True where
    the API documents that it honours `Idempotency-Key`. `slow` marks what may take
    minutes to answer: a report.
    """

    host: Host
    api: str
    app: str
    tenant: str | None
    limited: bool
    template: str
    keys: bool = False
    slow: bool = False


class Request(NamedTuple):
    """What the caller sent, as far as the proxy looks at it, and until when it wants an answer. Nothing in it
    changes.

    `counts_as` is the least safe of its method and those that it asks for in its place. `arrived` and
    `deadline` are the clock's. `headers` go on to Xero, `key` is its idempotency key, `authorization` its
    credentials; None where there are none.
    """

    id: str
    method: str
    target: bytes
    route: Route
    counts_as: str
    arrived: float
    deadline: float
    urgency: int = 3
    headers: Headers = ()
    key: bytes | None = None
    authorization: bytes | None = None
    accept: bytes = b""


class Access(StrEnum):
    """What an answer says about the right to call."""

    EXPIRED = "expired"
    """The access token's time is over: a new one is to be fetched."""
    DISCONNECTED = "disconnected"
    """The connection is gone, or never was: somebody must connect again."""


@dataclass(frozen=True, slots=True)
class HoldRule:
    """What a class of response holds. `seconds` is a number, or `retry_after`, `offline`
    (`OFFLINE_BACKOFF_SECONDS`) or `backoff` (exponential with jitter); `probe` says whether one
    request alone goes first when it ends.
    """

    scope: Scope
    reason: str
    seconds: float | str
    probe: bool = True


@dataclass(frozen=True, slots=True)
class ResponseClass:
    """A row of the response table, as far as decisions need it."""

    name: str
    execution: Execution
    hold: HoldRule | None = None
    limit: Limit | None = None
    healthy: bool = False
    """True where the answer shows that the organisation and the API work: it ends a probe well."""
    breaks: bool = False
    """True where the answer is a failure of those that, repeated, hold what fails."""
    access: Access | None = None
    proves: bool = False
    """True where the answer to a write under a key is its outcome, whatever became of earlier attempts."""


class Remaining(NamedTuple):
    """The `X-*-Remaining` headers of one response; None where a header was absent or no number."""

    minute: int | None = None
    day: int | None = None
    app_minute: int | None = None


class Left(NamedTuple):
    """What the limits leave to a request, as far as known; None where nothing is. `day_limit` is what Xero
    has shown, else the setting.
    """

    minute: int | None = None
    day: int | None = None
    app_minute: int | None = None
    day_limit: int | None = None

    def of(self, limit: str) -> int | None:
        """What one of them leaves; None also where it is none of these."""
        match limit:
            case Limit.MINUTE:
                return self.minute
            case Limit.DAY:
                return self.day
            case Limit.APP_MINUTE:
                return self.app_minute
            case _:
                return None


UNKNOWN = Left()


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that brought no usable response.

    `name` is a row of the response table (`connect_failed`, `upstream_timeout`, …), `error` a type
    registered by RFC 9209, `detail` a sentence for people without anything the caller sent.
    """

    name: str
    sent: bool
    error: str
    detail: str


class HoldKey(NamedTuple):
    """Names a hold: the scope and whom exactly it stops."""

    scope: Scope
    app: str = ""
    tenant: str = ""
    api: str = ""


@lru_cache(maxsize=32_768)
def keys_of(app: str, tenant: str | None, api: str) -> tuple[HoldKey, ...]:
    """Whom a request of `tenant` (None: of no organisation) may be stopped by."""
    keys = (
        HoldKey(Scope.TENANT_API, app=app, tenant=tenant or "", api=api),
        HoldKey(Scope.APP, app=app),
        HoldKey(Scope.API, api=api),
        HoldKey(Scope.HOST),
    )
    return keys if tenant is None else (HoldKey(Scope.TENANT, app=app, tenant=tenant), *keys)


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold as operators see it. `seconds` is the time left; 0 means that a probe is due or out, which is
    only for a hold that is to be probed.
    """

    key: HoldKey
    reason: str
    seconds: float
    probing: bool
    probe: bool = True


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A connection that Xero refuses, as operators see it. `tenant` is empty where it is an app's;
    `reason` is the class of the answer that said so, `seconds` the time since.
    """

    app: str
    tenant: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TenantView:
    """One organisation of one app as operators see it; `*_remaining` is what may still be sent now."""

    app: str
    tenant: str
    queued: int
    oldest_seconds: float
    blocked_by: str
    next_seconds: float | None
    in_flight: int
    concurrent_limit: int
    minute_limit: int
    minute_remaining: int
    day_limit: int
    day_remaining: int
    foreign_calls: int


@dataclass(frozen=True, slots=True)
class AppView:
    """One app's own limit as operators see it."""

    app: str
    minute_limit: int
    minute_remaining: int


@dataclass(frozen=True, slots=True)
class StoreView:
    """Where limits and holds are kept: `kind` is `memory`, `sqlite` or `redis`. While it is not `up` the
    process goes on alone, for the reason in `trouble`. `replicas` are those that share the limits.
    """

    kind: str
    up: bool = True
    trouble: str = ""
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """One of Xero's hosts, `api` or `identity`. `connected` is whether the last connection to `url` came
    about, None before the first; `error` is why the last that failed did so, empty where none has. Seconds
    are the time since.
    """

    host: str
    url: str
    connected: bool | None
    connected_seconds: float | None
    error: str
    error_seconds: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the scheduler knows, at one moment, the connections that Xero refuses, and Xero's hosts."""

    store: StoreView = StoreView("memory")
    tenants: tuple[TenantView, ...] = ()
    apps: tuple[AppView, ...] = ()
    holds: tuple[HoldView, ...] = ()
    connections: tuple[ConnectionView, ...] = ()
    upstreams: tuple[UpstreamView, ...] = ()
    waiting: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit is spent, or has room again. `tenant` is empty where it is an app's."""

    limit: str
    app: str
    tenant: str
    spent: bool
