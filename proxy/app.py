"""Builds the sidecar from its settings and runs it: the only place that knows all parts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import replace
from math import inf
from random import Random

from aiohttp.http import HttpResponseParser
from prometheus_client import CollectorRegistry

from config.apis import load_apis
from config.responses import load_responses
from config.settings import PREFIX, BadSettings, Settings
from config.values import Address, egress_proxy
from proxy import __version__
from proxy.admin.routes import Admin, AdminPort
from proxy.clock import Clock
from proxy.core.answers.answers import failed, written
from proxy.core.answers.idempotency import Keys
from proxy.core.answers.marks import date, marks
from proxy.core.answers.retry import Backoff, Budgets
from proxy.core.line.lines import Waiting
from proxy.core.model import Headers, Snapshot
from proxy.core.wire.strict import METHODS, Refusal
from proxy.http.body import BodyStore
from proxy.http.callers import Downstream
from proxy.http.certificates import BadCertificate, Certificates, upstream_context
from proxy.http.names import XERO_HOSTS, own_names
from proxy.http.spool import SpoolFile
from proxy.http.upstream import Upstream
from proxy.observe.gauges import Gauges
from proxy.observe.log import Log
from proxy.observe.steps import Steps
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.observe.telemetry import Record, Telemetry
from proxy.request.access import AccessMemory
from proxy.request.attempts import Attempts
from proxy.request.pipeline import Pipeline, Policy
from proxy.request.refreshes import Refreshes
from proxy.stores import Store
from proxy.stores.choice import claims, store
from proxy.waiting.scheduler import Scheduler

ANSWER_SECONDS = 1.0
"""After the drain, to tell callers of what was broken off."""

REFUSED = {
    Refusal.METHOD: "method_not_allowed",
    Refusal.TIMEOUT: "body_timeout",
    Refusal.TOO_LARGE: "body_too_large",
    Refusal.MISDIRECTED: "misdirected",
    Refusal.INTERNAL: "internal",
}
"""Rows of the response table for what never became a request; everything else is `invalid_request`."""


SLOW_PARSER = "aiohttp.http_parser"
NO_PARSER = (
    "aiohttp runs without its parser in C, and its other one lets through what is no HTTP: unset "
    "AIOHTTP_NO_EXTENSIONS, or install a wheel of aiohttp"
)


class CannotListen(OSError):
    """An address is taken or not this machine's; the text names the setting."""


class Sidecar:
    """All parts of one sidecar. `start` listens, `stop` drains; both once. `hurry` ends a drain early."""

    def __init__(self, settings: Settings, log: Log, clock: Clock, random: Random) -> None:
        self._settings = settings
        self._log = log
        self._clock = clock
        self._ready = False
        registry = CollectorRegistry()
        self.telemetry = Telemetry(registry, log, settings.tenant_label, __version__)
        keys = Keys(inf if settings.redis_url else clock.now())
        kept = StoreTelemetry(registry, log)
        self._store = store(settings, clock, random, keys, kept)
        self.scheduler = _scheduler(settings, self._store, clock, self.telemetry)
        spool = SpoolFile(
            settings.spool_dir or None,
            settings.spool_max_bytes,
            lambda error: self.telemetry.spool_full(error, spool.held, clock.now()),
        )
        gauges = Gauges(
            self._look,
            self.telemetry.tenants,
            lambda: log.dropped,
            lambda: spool.held,
            settings.max_wait_seconds,
        )
        self._upstream = upstream_of(settings, clock, spool)
        self._refreshes = Refreshes(
            AccessMemory(self.telemetry, clock),
            self.telemetry,
            load_responses(),
            clock,
            claims(settings, clock, random, kept),
            single_flight=settings.token_single_flight,
        )
        self._pipeline = _pipeline(
            settings, clock, random, keys, self.telemetry, self.scheduler, self._upstream, self._refreshes
        )
        self._downstream = Downstream(
            self._pipeline.handle,
            self._refuse,
            clock=clock,
            crashed=self._crashed,
            late=self.telemetry.loop_lag,
        )
        admin = Admin(
            registry=registry,
            gauges=gauges.metrics,
            snapshot=self._look,
            failures=self.telemetry.failures.view,
            clear_hold=self.scheduler.clear,
            ready=lambda: self._ready,
            clock=clock,
            started=clock.now(),
            version=__version__,
            token=settings.admin_token,
        )
        self._admin = AdminPort(admin, self._crashed)
        self._certificates: Certificates | None = None
        if settings.tls_cert_file:
            self._certificates = Certificates(
                settings.tls_cert_file,
                settings.tls_key_file,
                settings.tls_client_ca_file,
                use=self._downstream.use_tls,
                told=self._certificate,
                clock=clock,
            )
        self.port = self.admin_port = 0
        self._finishing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen on both ports. Raises OSError naming the address or file that cannot be had, BadSettings
        where a file must not be.
        """
        try:
            await self._start()
        except BaseException:
            await self._upstream.close()
            raise

    async def _start(self) -> None:
        if self._certificates is not None:
            try:
                self._certificates.start()
            except BadCertificate as bad:
                raise BadSettings([f"{PREFIX}TLS_CERT_FILE: {bad}"]) from bad
        await self._store.start(self.scheduler)
        admin, callers = self._settings.admin_listen, self._settings.listen
        own = own_names(self._settings.allowed_hosts)
        listening = self._admin.start(admin.host, admin.port, own)
        self.admin_port = await _listening("ADMIN_LISTEN", admin, listening)
        own = replace(own, hosts=own.hosts | XERO_HOSTS)
        listening = self._downstream.start(callers.host, callers.port, own)
        self.port = await _listening("LISTEN", callers, listening)
        self._ready = True
        self._log.info(
            "listening",
            version=__version__,
            listen=str(replace(callers, port=self.port)),
            admin_listen=str(replace(admin, port=self.admin_port)),
            upstream=str(self._settings.upstream),
        )

    def read_again(self) -> None:
        """Read what can change while the process runs: the certificates."""
        self._log.info("read_again")
        if self._certificates is not None:
            self._certificates.look()

    async def stop(self) -> None:
        """Accept nothing more, let requests end for `DRAIN_SECONDS`, break off and answer what is left."""
        self._ready = False
        self._drain(self._settings.drain_seconds)
        self._downstream.drain()
        if self._certificates is not None:
            self._certificates.close()
        drained = await self._finished(self._settings.drain_seconds)
        await self._upstream.close()
        if not drained:
            self._downstream.stop_waiting()
            await self._finished(ANSWER_SECONDS)
        await self._downstream.close()
        await self._refreshes.close()
        self.scheduler.close()
        await self._store.close()
        await self._admin.close()
        self._log.info("stopped", drained=drained)

    def hurry(self) -> None:
        """Let the drain be over now; does nothing where there is none."""
        if self._finishing is not None and not self._finishing.done():
            self._drain(0.0)
            self._finishing.cancel()

    def _drain(self, seconds: float) -> None:
        self._log.info("draining", seconds=seconds)
        until = self._clock.now() + seconds
        self.scheduler.drain(until)
        self._pipeline.drain(until)

    async def _finished(self, seconds: float) -> bool:
        """Whether the last caller has its answer within `seconds`, or before somebody is in a hurry."""
        self._finishing = asyncio.ensure_future(self._downstream.finished())
        await asyncio.wait({self._finishing}, timeout=seconds)
        finished = self._finishing.done() and not self._finishing.cancelled()
        self._finishing.cancel()
        return finished

    def _look(self) -> Steps[Snapshot]:
        seen = yield from self.scheduler.look()
        refused = self._refreshes.access.view(self._clock.now())
        return replace(seen, connections=refused, upstreams=self._upstream.view())

    def _refuse(self, kind: str, detail: str, method: str) -> tuple[int, Headers, bytes]:
        """The answer to what never became a request, counted and logged like any other."""
        record = Record(id=os.urandom(8).hex(), arrived=self._clock.now(), method=method)
        refusal = Refusal(kind)
        name = REFUSED.get(refusal, "invalid_request")
        answer = failed(name, detail, status=refusal.status)
        headers, body = written(answer, record.id)
        record.concluded(name, answer.status, answer.error)
        record.bytes_out = 0 if method == "HEAD" else len(body)
        self.telemetry.request(record, 0.0)
        own = marks(name, 0, 0.0, 0.0, error=answer.error)
        allow = ((b"Allow", ", ".join(sorted(METHODS)).encode()),) if refusal is Refusal.METHOD else ()
        return answer.status, (date(self._clock.wall()), *headers, *allow, *own), body

    def _certificate(self, action: str, detail: str) -> None:
        if action == "loaded":
            self._log.info("certificate", action=action, good_until=detail)
        else:
            self._log.error("certificate", action=action, reason=detail)

    def _crashed(self, place: str) -> None:
        self._log.error("crashed", place=place)


async def _listening(name: str, address: Address, starting: Awaitable[int]) -> int:
    """The port, once it listens; the setting `name` chose `address`."""
    try:
        return await starting
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise CannotListen(
            f"cannot listen on {address}: {reason}. "
            f"{PREFIX}{name} names another address, with port 0 any free port."
        ) from error


def upstream_of(settings: Settings, clock: Clock, spool: SpoolFile | None = None) -> Upstream:
    """The way to Xero. Raises `BadSettings` where its authorities or aiohttp's parser cannot be used."""
    if HttpResponseParser.__module__ == SLOW_PARSER:
        raise BadSettings([NO_PARSER])
    try:
        tls = upstream_context(settings.upstream_ca_file) if settings.upstream_ca_file else None
    except BadCertificate as bad:
        raise BadSettings([f"{PREFIX}UPSTREAM_CA_FILE: {bad}"]) from bad
    return Upstream(
        settings.upstream,
        settings.identity_upstream,
        connect_timeout=settings.connect_timeout_seconds,
        timeout=settings.upstream_timeout_seconds,
        clock=clock,
        spool=spool,
        tls=tls,
        proxy=egress_proxy(settings.upstream_proxy),
    )


def _scheduler(settings: Settings, store: Store, clock: Clock, telemetry: Telemetry) -> Scheduler:
    return Scheduler(
        store,
        clock,
        Waiting(settings.queue_limit, settings.queue_limit_total),
        observe=telemetry.hold_changed,
        foreign=lambda ask, calls: telemetry.foreign_calls(ask.tenant or "", calls),
        spent=telemetry.limit_changed,
    )


def _pipeline(
    settings: Settings,
    clock: Clock,
    random: Random,
    keys: Keys,
    telemetry: Telemetry,
    scheduler: Scheduler,
    upstream: Upstream,
    refreshes: Refreshes,
) -> Pipeline:
    policy = Policy(
        max_wait=settings.max_wait_seconds,
        retry_after_max=settings.retry_after_max_seconds,
        idempotency=settings.idempotency,
        via=settings.via,
    )
    attempts = Attempts(
        Backoff(settings.retry_attempts, settings.retry_backoff_seconds, settings.retry_backoff_max_seconds),
        table=load_responses(),
        scheduler=scheduler,
        upstream=upstream,
        telemetry=telemetry,
        budgets=Budgets(settings.retry_budget),
        access=refreshes.access,
        keys=keys,
        clock=clock,
        random=random,
        random_bits=os.urandom,
    )
    return Pipeline(
        policy,
        prefixes=load_apis(),
        scheduler=scheduler,
        attempts=attempts,
        bodies=BodyStore(settings.body_memory_bytes, settings.max_body_bytes, upstream.spool),
        telemetry=telemetry,
        refreshes=refreshes,
        clock=clock,
        random=random,
        random_bits=os.urandom,
    )
