"""Where a request goes and whose limits it uses.

Nothing here is verified and nothing decides about access: that is Xero's. What is decided is whose budget
a call spends, so whatever is doubtful spends the organisation's: an unknown path is limited like any
other, and a family that is exempt from limits is recognised only in a path that no server can resolve to
another one.
"""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from proxy.core.model import REPEATABLE, SAFE, Host, Request, Route, Terms
from proxy.core.wire.fields import Fields
from proxy.core.wire.headers import (
    end_to_end_request,
    overrides,
    overrides_of,
    urgency,
    wait_preference,
)

DEFAULT_APP = "default"
"""The app of requests whose token does not name one."""

PREFIX_SEGMENTS = 2
"""The longest prefix in the table of API families, in path segments."""

OTHER = "other"

LONGEST_WAIT_SECONDS = 3600.0
"""The most that `Prefer: wait` can ask for."""

_NAME_CHARACTERS = 100
_TOKEN_BYTES = 16384
_WORD_CHARACTERS = 40
_TEMPLATE_SEGMENTS = 6
_USUAL_PATH = 200
_PATHS_KEPT = 4096
_IDENTITY_WORDS = frozenset({b"token", b"revocation"})
"""What is called at the identity host; any other word there may be a secret."""
_REPORTS = frozenset({"reports", "financialstatements"})
"""Resources whose answers may take minutes."""
_LEADS_ELSEWHERE = re.compile(rb"/(?:\.|%2e){1,2}(?:/|\Z)|%2f|%5c|%25|\\", re.IGNORECASE)
"""What a server may resolve to another path, whose API may document no keys."""
_PLAIN = re.compile(rb"(?!\.{1,2}\Z)[A-Za-z0-9_.~-]*")


@dataclass(frozen=True, slots=True)
class Family:
    """What a prefix of the path says. `tenant` is False where no organisation's limit counts, `keys` True
    where Xero's document of the API says that its writes honour `Idempotency-Key`.
    """

    name: str
    prefix: str
    host: Host = Host.API
    tenant: bool = True
    keys: bool = False


Prefixes = Mapping[bytes, Family]
"""Families by their prefix in lower case, with the leading slash and without a trailing one."""


class Families:
    """Which family a path belongs to, and where its requests go; remembers what is asked often."""

    def __init__(self, prefixes: Prefixes) -> None:
        self._prefixes = prefixes
        self._usual = lru_cache(maxsize=_PATHS_KEPT)(self._place)
        self._usual_route = lru_cache(maxsize=_PATHS_KEPT)(self._route)

    def route(self, path: bytes, app: str, tenant: str) -> Route:
        """Where `app` sends a request for a path, `tenant` being empty where it names none."""
        route = self._usual_route if len(path) <= _USUAL_PATH else self._route
        return route(path, app, tenant)

    def _route(self, path: bytes, app: str, tenant: str) -> Route:
        family, template = self.place(path)
        if family is None:
            return Route(Host.API, OTHER, app, tenant or app, limited=True, template=template)
        return Route(
            host=family.host,
            api=family.name,
            app=app,
            tenant=(tenant or app) if family.tenant else None,
            limited=family.host is Host.API,
            template=template,
            keys=family.keys and _LEADS_ELSEWHERE.search(path) is None,
            slow=not _REPORTS.isdisjoint(template.lower().split("/")),
        )

    def place(self, path: bytes) -> tuple[Family | None, str]:
        """The family of a path, None where it is of none, and the template that stands for it."""
        return self._usual(path) if len(path) <= _USUAL_PATH else self._place(path)

    def _place(self, path: bytes) -> tuple[Family | None, str]:
        segments = path.split(b"/")
        family = _family(segments, self._prefixes)
        return family, "/*" if family is None else _template(family, segments)


def route(target: bytes, terms: Terms, families: Families) -> Route | str:
    """The route of a request for the raw `target`; or the class of the answer that refuses it.

    `invalid_request`: the target is not a path, so a host could hide in it. `tenant_invalid`: see
    `tenant_of`. `unauthenticated`: it is for the API host and has no credentials, so Xero can only say 401.
    """
    if not target.startswith(b"/") or target.startswith(b"//"):
        return "invalid_request"
    if terms.tenant is None:
        return "tenant_invalid"
    found = families.route(target.partition(b"?")[0].partition(b"#")[0], terms.app, terms.tenant)
    return found if terms.credentials or found.host is not Host.API else "unauthenticated"


def request_of(
    id_: str,
    arrived: float,
    method: str,
    target: bytes,
    fields: Fields,
    terms: Terms,
    found: Route,
    max_wait: float,
) -> Request:
    """What the caller sent, with the route that was found for it. It waits `max_wait` seconds at most, unless
    the caller prefers otherwise.
    """
    wait = max_wait if terms.wait is None else min(terms.wait, LONGEST_WAIT_SECONDS)
    return Request(
        id_,
        method,
        target,
        found,
        less_safe(method, (*terms.overrides, *overrides_of(target))),
        arrived,
        arrived + wait,
        terms.urgency,
        terms.headers,
        terms.key,
        fields.get(b"authorization"),
        fields.get(b"accept", b""),
    )


def less_safe(method: str, overrides: Iterable[str]) -> str:
    """The method as which a request counts that asks for `overrides` in its place: who acts on them is not
    known.
    """
    return max((method, *overrides), key=lambda each: (each not in SAFE) + (each not in REPEATABLE))


def tenant_of(fields: Fields) -> str | None:
    """The organisation that `Xero-Tenant-Id` names; empty where the header is empty or absent.

    In lower case: ids are GUIDs, and one organisation spelled in two ways must not get two budgets. None
    where no organisation can be meant: two values that differ, over 100 characters, or anything but
    printable ASCII.
    """
    value = fields.get(b"xero-tenant-id", b"")
    if fields.repeats and len(set(map(_folded, fields.every(b"xero-tenant-id")))) > 1:
        return None
    tenant = _folded(value).decode("latin-1")
    fit = len(tenant) <= _NAME_CHARACTERS and tenant.isascii() and tenant.isprintable()
    return tenant if fit else None


def _folded(tenant: bytes) -> bytes:
    return tenant.strip(b" \t").lower()


def has_credentials(authorization: bytes | None) -> bool:
    """Whether a value of `Authorization` holds anything that could be right: not where it is absent, empty or
    the bare word `Bearer`.
    """
    return (authorization or b"").strip().lower() not in {b"", b"bearer"}


def app_id(authorization: bytes | None) -> str:
    """The `client_id` claim of a bearer token, unverified; `default` where there is none fit to be a name."""
    scheme, _, token = (authorization or b"").strip().partition(b" ")
    parts = token.strip().split(b".")
    if scheme.lower() != b"bearer" or len(parts) != 3 or len(token) > _TOKEN_BYTES:
        return DEFAULT_APP
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=="))
    except (ValueError, RecursionError):  # no base64, no UTF-8, no JSON, or nested without end
        return DEFAULT_APP
    return app_name(claims.get("client_id") if isinstance(claims, dict) else None)


def app_name(client: object) -> str:
    """A client id as the name of an app; `default` where it is not fit to be one."""
    if not isinstance(client, str) or not 0 < len(client) <= _NAME_CHARACTERS:
        return DEFAULT_APP
    return client if client.isascii() and client.isprintable() and " " not in client else DEFAULT_APP


def terms_of(fields: Fields, apps: AppIds, *, via: bool = False) -> Terms:
    """What the fields of a request say; looked for once where many requests have the same."""
    terms = fields.terms
    if terms is None:
        headers = end_to_end_request(fields, via=via)
        terms = fields.terms = Terms(
            app=apps.of(fields.get(b"authorization")),
            tenant=tenant_of(fields),
            wait=wait_preference(fields) if b"prefer" in fields else None,
            urgency=urgency(fields),
            key=b",".join(fields.every(b"idempotency-key")) or None,
            overrides=overrides(fields),
            credentials=has_credentials(fields.get(b"authorization")),
            headers=headers,
            utf8=all(_is_utf8(value) for _, value in headers),
        )
    return terms


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


class AppIds:
    """`app_id` with a memory: the last `size` tokens, known by their hash so that no token is kept.

    Python's own keyed hash does: a collision, one in 2**64, would only count a call for another app.
    """

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._names: OrderedDict[int, str] = OrderedDict()

    def of(self, authorization: bytes | None) -> str:
        """As `app_id`."""
        if not authorization:
            return DEFAULT_APP
        key = hash(authorization)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = app_id(authorization)
            if len(self._names) > self._size:
                self._names.popitem(last=False)
        else:
            self._names.move_to_end(key)
        return name


def _family(segments: list[bytes], prefixes: Prefixes) -> Family | None:
    """The family of a path split at its slashes, by whole segments and without case."""
    for length in range(min(len(segments) - 1, PREFIX_SEGMENTS), 0, -1):
        family = prefixes.get(b"/".join(segments[: length + 1]).lower())
        if family is not None:
            return family if family.tenant or all(map(_PLAIN.fullmatch, segments)) else None
    return None


def _template(family: Family, segments: list[bytes]) -> str:
    """The path for logs: resources and ids take turns; only plain words where resources stand are kept."""
    prefix, identity = family.prefix, family.host is Host.IDENTITY
    rest = segments[1 + prefix.count("/") :]
    shown = [
        segment.decode("ascii")
        if place % 2 == 0 and (segment in _IDENTITY_WORDS if identity else _is_word(segment))
        else "{id}"
        for place, segment in enumerate(rest[:_TEMPLATE_SEGMENTS])
        if segment
    ]
    return "/".join([prefix, *shown, *(["*"] if len(rest) > _TEMPLATE_SEGMENTS else [])])


def _is_word(segment: bytes) -> bool:
    return segment.isalpha() and len(segment) <= _WORD_CHARACTERS
