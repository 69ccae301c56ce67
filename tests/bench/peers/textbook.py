"""The proxy that aiohttp's documentation leads to, doing what xero-proxy does but for the limits: each answer
is classified by its status, counted by Prometheus and logged as one line of JSON by structlog.

`python -m tests.bench.peers.textbook PORT UPSTREAM`
"""

from __future__ import annotations

import sys
import time
import uuid

import aiohttp
import orjson
import structlog
from aiohttp import web
from prometheus_client import Counter, Histogram
from yarl import URL

HOP_BY_HOP = {"connection", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
CLASSES = {429: "rate_limited", 503: "unavailable"}
REQUESTS = Counter("requests", "Answered requests.", ("method", "status", "class"))
DURATION = Histogram("request_duration_seconds", "From arrival to the last byte.")
PIECE_BYTES = 65536


def classified(status: int) -> str:
    """What kind of answer a status is."""
    return CLASSES.get(status) or ("success" if status < 400 else "failed" if status >= 500 else "rejected")


class Textbook:
    """Everything is passed on to one upstream."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._log = structlog.get_logger()

    async def session(self, app: web.Application) -> None:
        """Open the one session when the server starts."""
        app["session"] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on, and its answer back."""
        began = time.monotonic()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        sent = request.app["session"].request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=headers,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        )
        async with sent as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=passed)
            await response.prepare(request)
            sent_bytes = 0
            async for piece in answer.content.iter_chunked(PIECE_BYTES):
                sent_bytes += len(piece)
                await response.write(piece)
            await response.write_eof()
        self._record(request, answer, sent_bytes, time.monotonic() - began)
        return response

    def _record(
        self, request: web.Request, answer: aiohttp.ClientResponse, size: int, seconds: float
    ) -> None:
        kind = classified(answer.status)
        REQUESTS.labels(request.method, str(answer.status), kind).inc()
        DURATION.observe(seconds)
        self._log.info(
            "request",
            request_id=uuid.uuid4().hex,
            tenant=request.headers.get("Xero-Tenant-Id", ""),
            method=request.method,
            route=request.path,
            status=answer.status,
            upstream_seconds=round(seconds, 6),
            bytes_out=size,
            xero_correlation_id=answer.headers.get("xero-correlation-id", ""),
            **{"class": kind},
        )


def main() -> None:
    """Serve until stopped."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    app = web.Application(client_max_size=2**30)
    textbook = Textbook(sys.argv[2])
    app.on_startup.append(textbook.session)
    app.router.add_route("*", "/{path:.*}", textbook.handle)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
