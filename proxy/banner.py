"""What somebody who starts the sidecar in a terminal reads first: where it is, and what to try."""

from __future__ import annotations

from config.values import Address

_HERE = """\
xero-proxy passes calls from {callers} on to {upstream}
  its page    {admin}/
  try it      curl -H '{authorization}' -H '{tenant}' \\
                   -H 'Accept: application/json' {reach}/api.xro/2.0/Organisation
"""
_BREAK = """\
  break it    curl -d '{{"offline": {{"tenant": "demo", "seconds": 60}}}}' \\
                   {simulator}/_simulator/faults
"""
_END = "  Ctrl-C ends it. What follows is its log: a line for each call.\n\n"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to


def reached_at(address: Address, port: int, scheme: str = "http") -> str:
    """Where to reach, from this machine, what listens on `address`; `port` is the one that it got."""
    if address.is_path:
        return str(address)
    return f"{scheme}://{Address(_WILDCARDS.get(address.host, address.host), port)}"


def banner(callers: str, admin: str, *, upstream: str, simulator: str = "") -> str:
    """The lines before the log. All are addresses; `simulator` is that of one that stands in Xero's place."""
    at_path = callers.startswith("unix:")
    text = _HERE.format(
        callers=callers,
        reach=callers.replace("unix:", "--unix-socket ", 1) + " http://localhost" if at_path else callers,
        admin=admin,
        upstream=f"a simulated Xero at {simulator}" if simulator else upstream,
        authorization="Authorization: Bearer any" if simulator else "Authorization: Bearer TOKEN",
        tenant="Xero-Tenant-Id: demo" if simulator else "Xero-Tenant-Id: ORGANISATION",
    )
    return text + (_BREAK.format(simulator=simulator) if simulator else "") + _END
