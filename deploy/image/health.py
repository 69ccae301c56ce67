"""Exit 0 where /readyz answers 200 on the admin port, else 1: the image's health check.

It runs every few seconds beside the proxy, so it imports only what costs nothing to start: 20 ms in all.
"""

from __future__ import annotations

import os
import socket
import sys

TIMEOUT_SECONDS = 2.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, never bound to


def ready(listen: str) -> bool:
    """Ask the admin port at `listen` (host:port, or unix: and a path). False for whatever is not a 200."""
    try:
        with _connected(listen) as admin:
            admin.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return admin.makefile("rb").readline(64).split()[1:2] == [b"200"]
    except (OSError, ValueError):
        return False


def _connected(listen: str) -> socket.socket:
    if listen.startswith("unix:"):
        admin = socket.socket(socket.AF_UNIX)
        admin.settimeout(TIMEOUT_SECONDS)
        admin.connect(listen.removeprefix("unix:"))
        return admin
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    return socket.create_connection((_EVERY_ADDRESS.get(host, host), int(port)), TIMEOUT_SECONDS)


if __name__ == "__main__":
    sys.exit(not ready(os.environ.get("XERO_PROXY_ADMIN_LISTEN", "127.0.0.1:9090")))
