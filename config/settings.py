"""The settings: one dataclass, read from `XERO_PROXY_*` environment variables.

Every field says here how it is read, its default and what it means; the README's table and
`xero-proxy check` come from the same place. All problems are reported together, by the variable's full
name. No message holds a value: whoever mixes two variables up must not find a token in the log.

An empty text is a value like any other: right where the default is empty, a problem everywhere else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast

from config.secrets import Problem, secret
from config.values import (
    ADDRESS,
    DIRECTORY,
    EGRESS,
    EXISTING,
    FILE,
    FLAG,
    HOSTS,
    ORIGIN,
    REDIS,
    TOKEN,
    Address,
    Kind,
    LogFormat,
    LogLevel,
    Origin,
    TenantLabel,
    choice,
    decimal,
    label,
    shown,
    whole,
)

PREFIX = "XERO_PROXY_"
MASK = "********"
_NEAR = 0.65
"""Of a name's characters at least so large a share stands in the setting's for which it was meant."""

T = TypeVar("T")
_DAY = 86400.0
_KIB = 1024
_EVERY_HOST = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound to
# A Service named xero-proxy makes Kubernetes set these in every pod of its namespace.
_SERVICE_LINK = re.compile(r"XERO_PROXY_(.+_)?(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP|SCTP).*)?)")


class BadSettings(Exception):
    """The environment cannot be used. `problems` has a sentence for each bad variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One setting as its documentation shows it. `name` is the full name of the variable."""

    name: str
    default: str
    unit: str
    allowed: str
    meaning: str
    secret: bool


def _setting(default: str, kind: Kind[T], meaning: str, unit: str = "") -> T:
    metadata = {"kind": kind, "default": default, "meaning": meaning, "unit": unit}
    return field(default=cast("T", kind.read(default)), repr=not kind.secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, with the defaults of production; the field is the variable's name in lower case."""

    listen: Address = _setting("127.0.0.1:8080", ADDRESS, "where callers connect")
    admin_listen: Address = _setting(
        "127.0.0.1:9090", ADDRESS, "metrics, health, status; never the callers' port"
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "", HOSTS, "further names for `Host` on both ports, comma-separated; `.example.org` is a whole domain"
    )
    tls_cert_file: str = _setting(
        "", EXISTING, "certificate chain (PEM) for TLS on the callers' port; read again when it changes"
    )
    tls_key_file: str = _setting("", EXISTING, "the certificate's key (PEM, not encrypted)")
    tls_client_ca_file: str = _setting(
        "", EXISTING, "authorities (PEM): callers need a certificate that one of them vouches for"
    )
    upstream: Origin = _setting("https://api.xero.com", ORIGIN, "Xero's API host")
    identity_upstream: Origin = _setting(
        "https://identity.xero.com", ORIGIN, "gets `/connect/*` and `/.well-known/openid-configuration`"
    )
    upstream_proxy: str = _setting("", EGRESS, "HTTP proxy on the way to an https upstream")
    upstream_ca_file: str = _setting(
        "", EXISTING, "authorities (PEM) that may vouch for an https upstream, besides the system's"
    )
    tenant_minute_limit: int = _setting(
        "60", whole(1, 1_000_000), "calls to one organisation a minute", "calls"
    )
    tenant_concurrent_limit: int = _setting(
        "5", whole(1, 10_000), "calls to one organisation in progress", "calls"
    )
    tenant_day_limit: int = _setting(
        "5000", whole(1, 100_000_000), "calls to one organisation a day", "calls"
    )
    app_minute_limit: int = _setting("10000", whole(1, 10_000_000), "calls of one app a minute", "calls")
    minute_window_seconds: float = _setting(
        "60", decimal(0.01, 3600), "the minute of the limits; shorter only against a simulator", "seconds"
    )
    max_wait_seconds: float = _setting(
        "120",
        decimal(0.001, _DAY),
        "longest a request may wait in the proxy, queue and retries together, unless it says otherwise",
        "seconds",
    )
    queue_limit: int = _setting(
        "1000", whole(1, 1_000_000), "waiting requests of one organisation", "requests"
    )
    queue_limit_total: int = _setting("10000", whole(1, 10_000_000), "waiting requests in all", "requests")
    body_memory_bytes: int = _setting(
        "1048576", whole(0, _KIB**3), "larger request bodies wait on disk, not in memory", "bytes"
    )
    max_body_bytes: int = _setting(
        "26214400", whole(1, 16 * _KIB**3), "a larger request is answered 413", "bytes"
    )
    spool_dir: str = _setting(
        "", DIRECTORY, "where large bodies wait: a file without a name, mode 0600; empty is the system's"
    )
    spool_max_bytes: int = _setting(
        "2147483648", whole(0, _KIB**5), "all bodies on disk together, both ways", "bytes"
    )
    offline_backoff_seconds: float = _setting(
        "300", decimal(0.001, _DAY), "pause of an organisation after `The Organisation is offline`", "seconds"
    )
    retry_attempts: int = _setting(
        "4", whole(1, 100), "sends of one request that may fail, holds not counted", "sends"
    )
    retry_backoff_seconds: float = _setting(
        "0.5", decimal(0.001, 3600), "first delay before a retry; doubles, full jitter", "seconds"
    )
    retry_backoff_max_seconds: float = _setting(
        "30", decimal(0.001, 3600), "longest delay before a retry that Xero did not ask for", "seconds"
    )
    retry_budget: float = _setting(
        "0.2", decimal(0, 1), "retries as a share of recent requests, over a small floor"
    )
    retry_after_max_seconds: float = _setting(
        "300", decimal(1, _DAY), "a longer `Retry-After` is not sent; the body says when", "seconds"
    )
    connect_timeout_seconds: float = _setting(
        "10", decimal(0.001, 3600), "to connect, TLS included", "seconds"
    )
    upstream_timeout_seconds: float = _setting(
        "330",
        decimal(0.001, _DAY),
        "for an answer, and for each pause in one over 64 KiB; Xero itself gives up after about 300",
        "seconds",
    )
    idempotency: bool = _setting("true", FLAG, "give unkeyed POST, PUT and PATCH an `Idempotency-Key`")
    via: bool = _setting("false", FLAG, "add `Via: 1.1 xero-proxy` to what Xero gets")
    token_single_flight: bool = _setting("true", FLAG, "let concurrent refreshes of a token share one call")
    drain_seconds: float = _setting(
        "30", decimal(0, _DAY), "time that requests have left after SIGTERM", "seconds"
    )
    state_file: str = _setting(
        "", FILE, "SQLite file that keeps budgets and holds across restarts; one sidecar's own"
    )
    redis_url: str = _setting("", REDIS, "Redis or Valkey that shares limits and holds between replicas")
    redis_timeout_seconds: float = _setting(
        "0.25", decimal(0.05, 5), "for one decision of Redis, until the local share stands in", "seconds"
    )
    redis_prefix: str = _setting("xero-proxy", label(1), "begins every key in Redis")
    redis_app_id: str = _setting("", label(0), "keeps apart what shares a Redis and is not to share limits")
    tenant_label: TenantLabel = _setting(
        "id", choice(TenantLabel), "tenant in metrics; at most 500 values, the rest as `other`"
    )
    log_level: LogLevel = _setting("info", choice(LogLevel), "least important log lines that are written")
    log_format: LogFormat = _setting(
        "json", choice(LogFormat), "`console` for people, as in a terminal where this is not set"
    )
    admin_token: str = _setting(
        "", TOKEN, "bearer token for admin calls that change something; without it they are refused"
    )
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Which of them the environment sets, by their field; the others are defaults."""


_FIELDS = {PREFIX + each.name.upper(): each for each in fields(Settings) if each.metadata}
_FILES = {name + "_FILE": name for name, each in _FIELDS.items() if each.metadata["kind"].secret}


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` asks for. Raises `BadSettings` with every problem at once."""
    read = {each.name: _read(name, environ) for name, each in _FIELDS.items()}
    bad = {key: value.sentence for key, value in read.items() if isinstance(value, Problem)}
    given = frozenset(each.name for name, each in _FIELDS.items() if name in environ)
    settings = Settings(given=given, **{key: value for key, value in read.items() if key not in bad})
    problems = [_unknown(name) for name in sorted(environ) if _is_unknown(name)]
    problems += bad.values()
    problems += [sentence for keys, sentence in _conflicts(settings) if not bad.keys() & keys]
    if problems:
        raise BadSettings(problems)
    return settings


def describe() -> list[SettingDoc]:
    """Every setting in the order of its documentation."""
    docs = []
    for name, each in _FIELDS.items():
        facts = each.metadata
        kind: Kind[object] = facts["kind"]
        docs.append(
            SettingDoc(name, facts["default"], facts["unit"], kind.allowed, facts["meaning"], kind.secret)
        )
    return docs


def effective(settings: Settings) -> list[tuple[str, str]]:
    """Full name and text of every setting, in order, fit to be shown: no secret is in it."""
    return [(name, shown(each.name, getattr(settings, each.name), MASK)) for name, each in _FIELDS.items()]


def _read(name: str, environ: Mapping[str, str]) -> Any:
    facts = _FIELDS[name].metadata
    kind: Kind[Any] = facts["kind"]
    text = environ.get(name, facts["default"])
    path = environ.get(name + "_FILE", "") if kind.secret else ""
    if path and text:
        return Problem(f"{name} and {name}_FILE are both given; only one can be")
    if path:
        found = secret(name + "_FILE", path)
        if isinstance(found, Problem):
            return found
        name, text = name + "_FILE", found
    value = kind.read(text)
    if value is None:
        return Problem(f"{name} must {'hold' if path else 'be'} {kind.allowed}")
    return value


def _is_unknown(name: str) -> bool:
    return name.upper().startswith(PREFIX) and name not in _FIELDS and name not in _FILES


def _unknown(name: str) -> str:
    if _SERVICE_LINK.fullmatch(name):
        return f"{name} is no setting; Kubernetes sets it for a Service unless `enableServiceLinks` is false"
    if (plain := name.removesuffix("_FILE")) in _FIELDS:
        return f"{name} is no setting, as only secrets are read from files; did you mean {plain}?"
    ends = [known.removeprefix(PREFIX) for known in (*_FIELDS, *_FILES)]
    nearest = difflib.get_close_matches(name.upper().removeprefix(PREFIX), ends, n=1, cutoff=_NEAR)
    if not nearest:
        return f"{name} is no setting, and no setting has a name like it"
    return f"{name} is no setting; did you mean {PREFIX}{nearest[0]}?"


def _conflicts(settings: Settings) -> list[tuple[set[str], str]]:
    """Settings that are right alone and wrong together: their fields, and the sentence."""
    found = []
    if _same_socket(settings.listen, settings.admin_listen):
        found.append(
            (
                {"listen", "admin_listen"},
                f"{PREFIX}ADMIN_LISTEN must not share {PREFIX}LISTEN's port or socket",
            )
        )
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        sentence = f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE must be given together"
        found.append(({"tls_cert_file", "tls_key_file"}, sentence))
    if settings.tls_client_ca_file and not settings.tls_cert_file:
        sentence = f"{PREFIX}TLS_CLIENT_CA_FILE needs {PREFIX}TLS_CERT_FILE: who calls shows one over TLS"
        found.append(({"tls_client_ca_file", "tls_cert_file"}, sentence))
    if settings.state_file and settings.redis_url:
        sentence = f"{PREFIX}STATE_FILE and {PREFIX}REDIS_URL must not both be given: one keeps the limits"
        found.append(({"state_file", "redis_url"}, sentence))
    for low, high in (
        ("retry_backoff_seconds", "retry_backoff_max_seconds"),
        ("connect_timeout_seconds", "upstream_timeout_seconds"),
    ):
        if getattr(settings, low) > getattr(settings, high):
            sentence = f"{PREFIX}{low.upper()} must not be more than {PREFIX}{high.upper()}"
            found.append(({low, high}, sentence))
    return found


def _same_socket(one: Address, other: Address) -> bool:
    if one.is_path or other.is_path:
        return one.host == other.host
    if one.port != other.port or one.port == 0:
        return False
    return one.host == other.host or bool(_EVERY_HOST & {one.host, other.host})
