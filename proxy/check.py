"""`xero-proxy check`: what is in effect, what of it is dangerous, and whether everybody can be reached."""

from __future__ import annotations

import asyncio
import os
import sys

from config.dangers import dangers
from config.settings import MASK, PREFIX, Settings, effective
from config.values import without_password

DONE, FAILED, BAD = 0, 1, 2


def run_check(settings: Settings, *, connect: bool) -> int:
    """Print the settings, warn, and try to connect where that is wanted; returns the exit code."""
    code = _show(settings)
    if bad := _bad_certificate(settings):
        print(bad, file=sys.stderr)
        return BAD
    for sentence in dangers(settings):
        print(f"warning: {sentence}", file=sys.stderr)
    if connect and code == DONE:
        return asyncio.run(_reach_all(settings))
    return code


def _show(settings: Settings) -> int:
    """Print what is in effect. A reader that has seen enough, as `head` has, is no failure."""
    try:
        print(*(f"{name}={value}" for name, value in effective(settings)), sep="\n", flush=True)
    except OSError as error:  # what is left of the output must not fail again when the interpreter flushes it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return DONE
        sys.stderr.write(f"xero-proxy check: cannot write: {error.strerror}\n")
        return FAILED
    return DONE


def _bad_certificate(settings: Settings) -> str:
    from proxy.http.certificates import BadCertificate, server_context, upstream_context

    name = "TLS_CERT_FILE"
    try:
        if settings.tls_cert_file:
            server_context(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
        name = "UPSTREAM_CA_FILE"
        if settings.upstream_ca_file:
            upstream_context(settings.upstream_ca_file)
    except BadCertificate as bad:
        return f"{PREFIX}{name}: {bad}"
    return ""


async def _reach_all(settings: Settings) -> int:
    from proxy.app import upstream_of
    from proxy.clock import Clock
    from proxy.core.model import Host
    from proxy.worker import Daemons

    asyncio.get_running_loop().set_default_executor(Daemons(4, "lookup"))
    upstream = upstream_of(settings, Clock())
    reasons = []
    for name, origin, host in (
        ("UPSTREAM", settings.upstream, Host.API),
        ("IDENTITY_UPSTREAM", settings.identity_upstream, Host.IDENTITY),
    ):
        failure = await upstream.reach(host)
        reasons.append(_told(name, str(origin), failure.detail if failure else ""))
    await upstream.close()
    if settings.redis_url:
        from proxy.stores.link import reach

        # More than one decision may take: here somebody wants to know whether it can be reached at all.
        reason = await reach(settings.redis_url, settings.connect_timeout_seconds)
        reasons.append(_told("REDIS_URL", without_password(settings.redis_url, MASK), reason))
    return FAILED if any(reasons) else DONE


def _told(name: str, where: str, reason: str) -> str:
    if reason:
        print(f"{PREFIX}{name}: {reason}", file=sys.stderr)
    else:
        print(f"{PREFIX}{name}: reached {where}")
    return reason
