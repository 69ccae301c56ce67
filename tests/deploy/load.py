"""The demo as a process, and beside its load all that can go wrong else, so that no metric is idle."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.e2e.harness import request
from tests.e2e.test_process import environ
from tests.servers import Server

PATIENCE = 60.0
SECONDS = 20
SPOOL = 64 * 1024
HOSTILE = """<script>alert("1")</script>"""
"""A tenant."""
COMMAND = (sys.executable, "-c", "import sys; from proxy.cli import main; sys.exit(main())", "demo")


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that is yet to run, its ports known."""

    port: int
    admin_port: int
    store: Server

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.admin_port}"

    def ask(self, method: str, path: str, tenant: str, body: object = None, **fields: str) -> str:
        """Send a request; the class of its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Authorization": "Bearer demo", "Accept": "application/json", "Xero-Tenant-Id": tenant}
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, headers | fields)
        with contextlib.closing(connection), connection.getresponse() as response:
            response.read()
            return response.headers["X-Xero-Proxy-Class"]

    def token(self, refresh: str) -> str:
        """Refresh a token; the class of the answer."""
        form = f"grant_type=refresh_token&client_id=demo&refresh_token={quote(refresh)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/connect/token", form, headers)
        with contextlib.closing(connection), connection.getresponse() as response:
            response.read()
            return response.headers["X-Xero-Proxy-Class"]

    def metrics(self, accept: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE)
        connection.request("GET", "/metrics", headers={"Accept": accept})
        with contextlib.closing(connection), connection.getresponse() as response:
            return response.read()

    def run(self, directory: Path) -> Iterator[str]:
        """Play it to its end, its log in `directory`; yields the lines that it prints, as it prints them."""
        environment = environ(
            listen=f"127.0.0.1:{self.port}",
            admin_listen=self.target,
            retry_attempts=2,
            redis_url=self.store.url,
            body_memory_bytes=SPOOL,
            spool_max_bytes=SPOOL,
        )
        with subprocess.Popen(
            (*COMMAND, "--plain", "--seconds", str(SECONDS)),
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"TMPDIR": str(directory)},
        ) as process:
            assert process.stdout is not None
            try:
                yield from process.stdout
            finally:
                process.terminate()
                process.wait(PATIENCE)

    def fail(self, **fault: object) -> None:
        """Let something go wrong at the simulator, whose control is reached through the sidecar too."""
        self.ask("POST", "/_simulator/faults", "control", fault)

    def trouble(self, number: int) -> None:
        """What the demo does not play: nobody is answered as they wished. Each time needs another number."""
        shared = f"shared {number}"
        self.store.do("CLIENT", "KILL", "TYPE", "normal")
        self.fail(fail_next={"kind": "500", "tenant": "broken"})
        assert self.ask("POST", "/api.xro/2.0/Contacts", "broken", {"Name": "A"}) == "internal_error"
        assert self.ask("PUT", "/api.xro/2.0/Contacts", "large", {"Name": 3 * SPOOL * "A"}) == "spool_full"
        self.fail(fail_next={"kind": "insufficient_scope", "tenant": HOSTILE})
        assert self.ask("GET", "/api.xro/2.0/Contacts", HOSTILE) == "scope_missing"
        self.fail(fail_next={"kind": "disconnected", "tenant": "gone"})
        assert self.ask("GET", "/api.xro/2.0/Contacts", "gone") == "wrong_tenant"
        assert self.token(f"shared {number}") == "success"
        self.fail(fail_next={"kind": "lost_reply", "times": 2, "tenant": "lost"})
        assert self.ask("PUT", "/api.xro/2.0/Contacts", "lost", {"Name": "B"}) == "outcome_unknown"
        self.fail(foreign={"tenant": shared, "calls": 60})
        assert self.ask("GET", "/api.xro/2.0/Contacts", shared, Prefer="wait=0") == "limit_minute"
        assert self.ask("GET", "/api.xro/2.0/Contacts", shared, Prefer="wait=0") == "refused_minute"
        with socket.create_connection(("127.0.0.1", self.port)) as leaving:  # its caller's patience ends here
            leaving.sendall(request(b"GET /api.xro/2.0/Contacts", f"Xero-Tenant-Id: {shared}".encode()))


def demo(store: Server) -> Demo:
    """One on two ports that nobody listens on, with its limits in `store`."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return Demo(one.getsockname()[1], other.getsockname()[1], store)
