"""The proxies that are compared: how each is configured and started in front of the upstream.

Each has one thread or process for its work and keeps its connections; nginx buffers as it does by
default. nginx, HAProxy, Envoy and Node do not log.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.peers.process import Launch, free_port
from tests.bench.peers.tools import find, missing, version
from tests.bench.peers.upstream import CERTIFICATE, COMMON, Upstream

OURS, TEXTBOOK, DIRECT, NGINX, ENVOY = "xero-proxy", "textbook aiohttp", "direct", "nginx", "Envoy"
ASYNCIO = "asyncio alone"

NGINX_PROXY = """
    upstream xero {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {scheme}://xero;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_ssl_session_reuse on;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 2000
defaults
    mode http
    http-reuse always
    timeout connect 10s
    timeout client 600s
    timeout server 600s
listen xero
    bind 127.0.0.1:{port}
    server xero 127.0.0.1:{upstream} {tls}
"""

SIDECAR = {
    "TENANT_MINUTE_LIMIT": "1000000",
    "TENANT_CONCURRENT_LIMIT": "10000",
    "TENANT_DAY_LIMIT": "100000000",
    "APP_MINUTE_LIMIT": "10000000",
    "DRAIN_SECONDS": "1",
}
"""Limits that never bind; all else as in production."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy stands: its port, the upstream's, whether that is TLS, a directory of its own, and the
    interpreter for what is written in Python.
    """

    port: int
    upstream: int
    tls: bool
    directory: Path
    python: str

    @property
    def origin(self) -> str:
        """The upstream by the name in its certificate."""
        return f"https://localhost:{self.upstream}" if self.tls else f"http://127.0.0.1:{self.upstream}"


def nginx(place: Place) -> Launch:
    """nginx with a pool of upstream connections."""
    text = (COMMON + NGINX_PROXY).format(
        directory=place.directory,
        upstream=place.upstream,
        port=place.port,
        scheme="https" if place.tls else "http",
    )
    return _configured("nginx", place, "-c", "nginx.conf", text)


def haproxy(place: Place) -> Launch:
    """HAProxy with one thread."""
    text = HAPROXY.format(
        port=place.port, upstream=place.upstream, tls="ssl verify none" if place.tls else ""
    )
    return _configured("haproxy", place, "-f", "haproxy.cfg", text)


def envoy(place: Place) -> Launch:
    """Envoy with one worker."""
    launch = _configured("envoy", place, "-c", "envoy.json", json.dumps(_envoy(place)))
    flags = ("--concurrency", "1", "--log-level", "error", "--disable-hot-restart")
    return Launch((*launch.command, *flags), launch.port, {})


def node(place: Place) -> Launch:
    """Node's own http module."""
    environment = {"PORT": str(place.port), "UPSTREAM": place.origin, "NODE_EXTRA_CA_CERTS": str(CERTIFICATE)}
    return Launch(
        (find("node") or "node", str(Path(__file__).with_name("plain.js"))), place.port, environment
    )


def forwarder(place: Place) -> Launch:
    """asyncio that passes bytes on."""
    return _written_here("forwarder", place)


def textbook(place: Place) -> Launch:
    """aiohttp as its documentation shows it."""
    return _written_here("textbook", place)


def sidecar(place: Place) -> Launch:
    """xero-proxy doing its whole job."""
    settings = {
        **SIDECAR,
        "LISTEN": f"127.0.0.1:{place.port}",
        "ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        "UPSTREAM": place.origin,
        "IDENTITY_UPSTREAM": place.origin,
    }
    environment = {f"XERO_PROXY_{name}": value for name, value in settings.items()}
    command = (place.python, "-c", "import sys; from proxy.cli import main; sys.exit(main())", "serve")
    return Launch(command, place.port, {**environment, "SSL_CERT_FILE": str(CERTIFICATE)})


PROXIES: dict[str, Callable[[Place], Launch]] = {
    NGINX: nginx,
    "HAProxy": haproxy,
    ENVOY: envoy,
    "Node": node,
    ASYNCIO: forwarder,
    TEXTBOOK: textbook,
    OURS: sidecar,
}
PROGRAMS = {NGINX: "nginx", "HAProxy": "haproxy", ENVOY: "envoy", "Node": "node"}


def absent(name: str) -> str | None:
    """Why a proxy cannot take part; None where it can."""
    return missing(PROGRAMS[name]) if name in PROGRAMS else None


def versions() -> str:
    """The peers that are there, and the load."""
    return ", ".join(f"{name} {version(program)}" for name, program in (*PROGRAMS.items(), ("wrk", "wrk")))


def placed(name: str, upstream: Upstream, directory: Path, python: str, *, tls: bool) -> Launch:
    """How to start one of them here; its directory is made."""
    directory.mkdir(parents=True)
    return PROXIES[name](Place(free_port(), upstream.port(tls=tls), tls, directory, python))


def _written_here(module: str, place: Place) -> Launch:
    command = (place.python, "-m", f"tests.bench.peers.{module}", str(place.port), place.origin)
    return Launch(command, place.port, {"SSL_CERT_FILE": str(CERTIFICATE)})


def _configured(program: str, place: Place, flag: str, name: str, text: str) -> Launch:
    path = place.directory / name
    path.write_text(text, "utf-8")
    return Launch((find(program) or program, flag, str(path)), place.port, {})


def _envoy(place: Place) -> dict[str, Any]:
    types, extensions = "type.googleapis.com/envoy.extensions", "envoy.filters"
    router = {"@type": f"{types}.filters.http.router.v3.Router"}
    connection = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "xero",
        "http_filters": [{"name": f"{extensions}.http.router", "typed_config": router}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "xero",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "xero", "timeout": "600s"}}],
                }
            ]
        },
    }
    chain = [{"name": f"{extensions}.network.http_connection_manager", "typed_config": connection}]
    listener = {
        "name": "callers",
        "address": _socket(place.port),
        "filter_chains": [{"filters": chain}],
    }
    cluster: dict[str, Any] = {
        "name": "xero",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "xero",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(place.upstream)}}]}],
        },
    }
    if place.tls:
        context = {"@type": f"{types}.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "localhost"}
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _socket(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
