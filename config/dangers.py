"""Settings that are allowed and seldom meant: what `check` and `serve` warn of."""

from __future__ import annotations

import ipaddress

from config.settings import PREFIX, Settings
from config.values import Address, Origin, redis_host

XERO = ".xero.com"
SHORT_TOKEN = 16
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".svc", ".test", ".home.arpa")
_XERO_ALLOWS = {
    "tenant_minute_limit": 60,
    "tenant_concurrent_limit": 5,
    "tenant_day_limit": 5000,
    "app_minute_limit": 10_000,
}


def dangers(settings: Settings) -> list[str]:
    """A sentence for each, which begins with the variable and holds no secret."""
    return [f"{PREFIX}{name} {sentence}." for name, sentence in _found(settings)]


def _found(settings: Settings) -> list[tuple[str, str]]:
    found = []
    for name, origin in (
        ("UPSTREAM", settings.upstream),
        ("IDENTITY_UPSTREAM", settings.identity_upstream),
    ):
        if origin.scheme == "http" and _is_public(origin.host):
            found.append((name, f"is http: tokens and data go to {origin.host} in the clear"))
    if settings.upstream_proxy and "https" not in (
        settings.upstream.scheme,
        settings.identity_upstream.scheme,
    ):
        found.append(("UPSTREAM_PROXY", "is never used: both upstreams are http, and it is for https alone"))
    if settings.redis_url.startswith("redis:") and _is_public(redis_host(settings.redis_url)):
        found.append(("REDIS_URL", "is redis: what the server is told goes to a public host in the clear"))
    if _is_xero(settings.upstream):
        if settings.minute_window_seconds != 60:
            window = f"is {settings.minute_window_seconds:g}, and Xero's minute has 60 seconds"
            found.append(("MINUTE_WINDOW_SECONDS", window))
        found += [
            (name.upper(), f"is more than the {most:,} that Xero allows, which will refuse the rest with 429")
            for name, most in _XERO_ALLOWS.items()
            if getattr(settings, name) > most
        ]
    if _is_open(settings.listen) and not settings.tls_client_ca_file:
        found.append(("LISTEN", "opens the port to the network: whoever reaches it can spend your calls"))
    if _is_open(settings.admin_listen):
        found.append(
            ("ADMIN_LISTEN", "opens the port to the network: whoever reaches it can read tenant ids")
        )
    if 0 < len(settings.admin_token) < SHORT_TOKEN:
        found.append(("ADMIN_TOKEN", f"has fewer than {SHORT_TOKEN} characters and can be guessed"))
    return found


def _is_xero(origin: Origin) -> bool:
    return origin.host.endswith(XERO)


def _is_open(address: Address) -> bool:
    """Whether others than this machine may reach it."""
    if address.is_path:
        return False
    number = _number(address.host)
    if number is not None:
        return not number.is_loopback
    return address.host.lower() != "localhost"


def _is_public(host: str) -> bool:
    """Whether it is a name or an address of the internet."""
    number = _number(host)
    if number is not None:
        return number.is_global
    return "." in host and not host.lower().endswith(_PRIVATE_NAMES)


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
