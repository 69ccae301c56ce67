"""The sidecar as `proxy.app` wires it, without sockets: the whole pipeline, in front of an organisation."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from config.responses import load_responses
from config.settings import read_settings
from config.values import TenantLabel
from proxy.app import _pipeline, _scheduler
from proxy.core.answers.idempotency import Keys
from proxy.core.wire.fields import Fields
from proxy.core.wire.strict import Accepted, RequestHead
from proxy.http.callers import Call
from proxy.http.response import Response
from proxy.http.spool import SpoolFile
from proxy.http.upstream import Outbound, Upstream
from proxy.observe.log import Log
from proxy.observe.store_telemetry import StoreTelemetry
from proxy.observe.telemetry import Telemetry
from proxy.request.access import AccessMemory
from proxy.request.pipeline import Pipeline
from proxy.request.refreshes import Refreshes
from proxy.simulator.answers import SimRequest
from proxy.stores import choice
from tests.bench.organisation import CALL, OK, Organisation

SETTINGS = {"XERO_PROXY_MAX_WAIT_SECONDS": "3600"}
"""The callers wait as long as it takes; all else as in production."""


class Unanswered(Exception):
    """A caller got something else than 200."""


class _Direct:
    """Takes what `Upstream` would send to the simulator's core."""

    def __init__(self, organisation: Organisation) -> None:
        self._organisation = organisation
        self.spool = SpoolFile()

    async def send(self, outbound: Outbound) -> Response:
        """Send once."""
        request = SimRequest(outbound.method, outbound.target.decode(), outbound.headers)
        answer = await self._organisation.call(request)
        now = self._organisation.clock.now()
        length = len(answer.body)
        return Response(
            answer.status, b"", Fields(answer.headers), first=answer.body, length=length, head_at=now
        )


async def proxied(organisation: Organisation, calls: int, random: Random) -> None:
    """Work off a backlog through the sidecar, all callers at once. Raises `Unanswered`."""
    with _sidecar(organisation, random) as pipeline:
        statuses = await asyncio.gather(*(_ask(pipeline) for _ in range(calls)))
    if others := [status for status in statuses if status != OK]:
        raise Unanswered(f"{len(others)} of {calls} callers got {sorted(set(others))}")


@contextlib.contextmanager
def _sidecar(organisation: Organisation, random: Random) -> Iterator[Pipeline]:
    settings = read_settings(SETTINGS)
    sink = os.open(os.devnull, os.O_WRONLY)
    log = Log(organisation.clock.wall, descriptor=sink)
    registry, keys = CollectorRegistry(), Keys()
    telemetry = Telemetry(registry, log, TenantLabel.ID, "bench")
    store = choice.store(settings, organisation.clock, random, keys, StoreTelemetry(registry, log))
    scheduler = _scheduler(settings, store, organisation.clock, telemetry)
    upstream = cast("Upstream", _Direct(organisation))
    try:
        access = AccessMemory(telemetry, organisation.clock)
        refreshes = Refreshes(access, telemetry, load_responses(), organisation.clock)
        yield _pipeline(settings, organisation.clock, random, keys, telemetry, scheduler, upstream, refreshes)
    finally:
        scheduler.close()
        log.close(1.0)
        os.close(sink)


async def _ask(pipeline: Pipeline) -> int:
    """The status that one caller gets."""
    written: list[bytes] = []
    line: Any = SimpleNamespace(transport=SimpleNamespace(write=written.append), peer="", draining=False)
    head = RequestHead(
        CALL.method, CALL.target.encode(), Fields(CALL.headers), http10=False, keep_alive=True, upgrade=False
    )
    target = CALL.target.encode()
    call = Call(line, head, Accepted(target, length=None, chunked=False, expects_continue=False))
    await pipeline.handle(call)
    return int(b"".join(written).split(b" ", 2)[1])
