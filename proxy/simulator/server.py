"""The simulator over HTTP: reads a call whole and gives it to the core in time.

A call whose body is complete will be executed, whether its caller stays or not, as at Xero; one that
breaks off in its body never arrives. Both of Xero's hosts live on the one address, since their paths
do not meet.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from aiohttp import web

from proxy.clock import Clock
from proxy.simulator.answers import SimRequest
from proxy.simulator.control import Controls, control, is_control
from proxy.simulator.delivery import deliver, dropped, whole
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.ledger import Ledger
from proxy.simulator.options import Options
from proxy.simulator.xero import Xero


class Simulator:
    """A running Xero. What changes it between calls is here, and under `/_simulator/` for others."""

    def __init__(self, options: Options | None = None, *, seed: int = 0, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._offset = 0.0
        self._seed = seed
        self._options = replace(options or Options(), epoch=self.clock.wall() - self.clock.now())
        self._runner: web.ServerRunner | None = None
        self.url = ""
        self.xero = self._fresh()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; 0 takes any free port. OSError if the address cannot be had. `url` is set afterwards."""
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.close()
            raise
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._runner.addresses[0][1]}"
        self.reset()

    async def close(self) -> None:
        """Stop listening and drop what is in progress."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def now(self) -> float:
        """The simulator's clock: monotonic seconds, and what `advance` added."""
        return self.clock.now() + self._offset

    def advance(self, seconds: float) -> None:
        """Put the clock forward: windows, keys, tokens and outages age; answers on their way do not."""
        if seconds < 0:
            raise ValueError("the clock cannot go back")
        self._offset += seconds

    def reset(self) -> None:
        """Forget everything but the options and the clock. Calls in progress end as they would have."""
        self.xero = self._fresh()

    def offline(self, tenant: str, seconds: float | None = None) -> None:
        """Take an organisation offline, for some time or until `online`."""
        if seconds is None:
            self.xero.faults.offline(tenant)
        else:
            self.xero.faults.offline(tenant, self.now() + seconds)

    def online(self, tenant: str) -> None:
        """End what `offline` began."""
        self.xero.faults.online(tenant)

    def maintenance(self, seconds: float) -> None:
        """The whole API is in maintenance for so long."""
        self.xero.faults.maintenance(self.now() + seconds)

    def unavailable(self, seconds: float) -> None:
        """The whole API is temporarily unavailable for so long."""
        self.xero.faults.unavailable(self.now() + seconds)

    def fail_next(
        self,
        times: int,
        kind: FaultKind | str,
        tenant: str | None = None,
        method: str | None = None,
        *,
        executed: bool = False,
    ) -> None:
        """Fail the next calls that match. `executed`: they are carried out all the same. ValueError."""
        self.xero.faults.fail_next(times, Fault(FaultKind(kind), tenant, method, executed))

    def clear_faults(self) -> None:
        """Nothing is wrong any more."""
        self.xero.faults.clear()

    def expire_tokens(self) -> None:
        """Expire every access token seen or issued so far."""
        self.xero.expire_tokens(self.now())

    def foreign_call(self, tenant: str) -> bool:
        """One call by somebody else on the tenant's limits; False where it got a 429."""
        return self.xero.foreign_call(tenant, self.now())

    def foreign_rate(self, tenant: str, per_minute: float) -> None:
        """Somebody else calls at random from now on, so often on average."""
        self.xero.foreign_rate(tenant, per_minute, self.now())

    @property
    def ledger(self) -> Ledger:
        """What arrived."""
        return self.xero.ledger

    @property
    def refused(self) -> Counter[str]:
        """429s by limit."""
        return self.xero.ledger.refused

    def peak_rolling(self, tenant: str) -> int:
        """Most calls that came for this tenant in any rolling minute window."""
        return self.xero.peak_rolling(tenant)

    def peak_concurrent(self, tenant: str) -> int:
        """Most calls that were in progress at once for this tenant, a refused one included."""
        return self.xero.peak_concurrent(tenant)

    def _fresh(self) -> Xero:
        return Xero(self._options, Random(self._seed), self.url)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await _read(request)
        except (ConnectionError, web.RequestPayloadError):
            return dropped(request)
        call = SimRequest(request.method, request.raw_path, request.raw_headers, body)
        if is_control(call.path):
            return whole(control(Controls(self.xero, self.now, self.advance, self.reset), call))
        xero = self.xero
        if transit := xero.transit():
            await self.clock.sleep_until(self.clock.now() + transit)
        now = self.now()
        begun = xero.arrive(call, now)
        try:
            await self.clock.sleep_until(self.clock.now() + begun.done_at - now)
            return await deliver(request, begun, self.clock, lambda: xero.finish(begun, self.now()))
        finally:
            xero.finish(begun, self.now())


async def _read(request: web.BaseRequest) -> bytes:
    """The whole body, of any size. ConnectionError or RequestPayloadError if it never completes."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return b"".join([piece async for piece in request.content.iter_any()])
