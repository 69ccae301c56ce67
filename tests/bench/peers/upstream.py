"""What stands behind every proxy: nginx, which answers as Xero does, over HTTP and over TLS."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers.process import ROOT, Launch, free_port, running
from tests.bench.peers.tools import find

CERTIFICATE = ROOT / "tests" / "localhost.pem"
"""Key and certificate of the TLS listener, self-signed for `localhost`."""

SMALL = "/api.xro/2.0/Invoices?page=1"
UPLOAD = "/api.xro/2.0/Attachments"
FILES = "/files.xro/1.0"
"""`/files.xro/1.0/N` is a file of N MB."""

MEGABYTES = (1, 10, 200)
BODY_BYTES = 1024

COMMON = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr error;
worker_rlimit_nofile 4096;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    server_tokens off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_max_body_size 100m;
"""
"""Of every nginx here, the proxy too: one process, and connections that last."""

# nginx answers a request with a body before it has read it, unless it passes the request on: so uploads go
# through it to itself, without their body.
SERVERS = """
    sendfile on;
    default_type application/json;
    add_header X-MinLimit-Remaining 999999;
    add_header X-DayLimit-Remaining 99999999;
    add_header X-AppMinLimit-Remaining 9999999;
    add_header xero-correlation-id $request_id;
    upstream self {{ server unix:{directory}/self; keepalive 64; keepalive_requests 100000000; }}
    server {{ listen unix:{directory}/self; return 200 '{body}'; }}
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location / {{ return 200 '{body}'; }}
        location /api.xro/2.0/Attachments {{
            client_body_buffer_size 11m;
            proxy_pass http://self/;
            proxy_http_version 1.1;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
        }}
        location /files.xro/1.0/ {{ alias {directory}/files/; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Its ports."""

    plain: int
    tls: int

    def port(self, *, tls: bool) -> int:
        """The one that speaks TLS, or the other."""
        return self.tls if tls else self.plain


@contextlib.contextmanager
def serving(directory: Path, core: int) -> Iterator[Upstream]:
    """The upstream, as long as it is needed."""
    files = directory / "files"
    files.mkdir(parents=True)
    for size in MEGABYTES:
        with (files / str(size)).open("wb") as file:
            file.truncate(size * 1_000_000)
    upstream = Upstream(free_port(), free_port())
    text = (COMMON + SERVERS).format(
        directory=directory,
        plain=upstream.plain,
        tls=upstream.tls,
        certificate=CERTIFICATE,
        body=body(),
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(text, "utf-8")
    launch = Launch((find("nginx") or "nginx", "-c", str(configuration)), upstream.plain, {})
    with running(launch, core, directory / "output"):
        yield upstream


def body() -> str:
    """1 KB of JSON as Xero sends it."""
    invoice = {"InvoiceID": "243216c5-369e-4056-ac67-05388f86dc81", "Type": "ACCREC", "Status": "AUTHORISED"}
    text = json.dumps(
        {"Id": "0b3bd9d6-2d2d-4a5e-8a0a-3f0c4a8c6c1b", "Status": "OK", "Invoices": [invoice] * 8}
    )
    return text[:-1].ljust(BODY_BYTES - 1) + "}"
