"""A stand-in for your app: reads the invoices of three organisations, one after the other, for ever.

That is more than Xero allows for them. It knows no limit and no retry, and of the sidecar only the address.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import urllib.error
import urllib.request

BASE = os.environ["XERO_BASE_URL"]
ORGANISATIONS = ("acme", "globex", "initech")
SHOWN = ("X-Xero-Proxy-Class", "Server-Timing")
PAUSE_SECONDS = 1.0
"""After a failure, as whoever cannot go on would do."""


def invoices(organisation: str) -> tuple[int, str]:
    """The status, and what the sidecar says of the call. Raises OSError where nobody answers."""
    headers = {"Authorization": "Bearer any", "Xero-Tenant-Id": organisation, "Accept": "application/json"}
    request = urllib.request.Request(f"{BASE}/api.xro/2.0/Invoices", headers=headers)  # noqa: S310 - the sidecar's address
    try:
        with urllib.request.urlopen(request) as response:  # noqa: S310 - as above
            response.read()
            return response.status, " ".join(response.headers.get(name, "") for name in SHOWN)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, " ".join(error.headers.get(name, "") for name in SHOWN)


def main() -> None:
    """Run until SIGTERM, which a process that is the container's first would otherwise not even notice."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pause = threading.Event()
    for organisation in itertools.cycle(ORGANISATIONS):
        try:
            status, said = invoices(organisation)
        except OSError as error:
            status, said = 0, str(error)
        sys.stdout.write(f"{organisation} {status} {said}\n")
        if status != 200:
            pause.wait(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
