"""A pipeline in virtual time before an upstream that answers from a script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.clock import Clock
from proxy.core.model import Failure, Headers
from proxy.http.response import Response
from proxy.http.upstream import Outbound
from tests.fakes import run_virtual
from tests.inprocess import FakeCall, Proxy, Setup, response

Step = Callable[[Clock], Response | Failure]

OFFLINE = b"The Organisation is offline"
MAINTENANCE = b"The Xero API is currently offline for maintenance"
ONCE = Setup().attempts(1)


def answers(status: int = 200, headers: Headers = (), body: bytes = b"") -> Step:
    return lambda clock: response(clock, status, headers, body)


def fails(name: str, *, sent: bool = True) -> Step:
    return lambda _clock: Failure(name, sent=sent, error="connection_terminated", detail="It failed.")


OK = answers(200, body=b"ok")
RESET, TIMEOUT = fails("upstream_reset"), fails("upstream_timeout")
REFUSED = fails("connect_failed", sent=False)
BAD_GATEWAY = answers(502, body=b"<html>")
EXPIRED = answers(401, body=b'{"Detail":"TokenExpired: token expired"}')


class Script:
    """Gives one step per attempt, each after `seconds`, then the last one for ever."""

    def __init__(self, clock: Clock, *steps: Step, seconds: float = 0.1) -> None:
        self.clock = clock
        self.seconds = seconds
        self.sent: list[Outbound] = []
        self.times: list[float] = []
        self._steps = list(steps) or [OK]

    async def send(self, outbound: Outbound) -> Response | Failure:
        if self.clock.elapsed() >= outbound.go_by:
            return Failure(
                "refused_deadline", sent=False, error="http_request_denied", detail="It is too late."
            )
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        self.sent.append(outbound)
        self.times.append(self.clock.now())
        await self.clock.sleep_until(self.clock.now() + self.seconds)
        return step(self.clock)

    def keys(self) -> list[bytes]:
        """The idempotency key of each attempt."""
        found = [dict(outbound.headers) for outbound in self.sent]
        return [fields.get(b"Idempotency-Key", b"") for fields in found]


class Stage:
    """A proxy before a script."""

    def __init__(self, *steps: Step, setup: Setup | None = None, seconds: float = 0.1) -> None:
        self.clock = Clock()
        self.xero = Script(self.clock, *steps, seconds=seconds)
        self.proxy = Proxy(self.clock, self.xero, setup)

    def call(self, method: str = "GET", *headers: tuple[bytes, bytes], upload: float = 0.0) -> FakeCall:
        body = b'{"Name":"Ada"}' if method in {"PUT", "POST", "PATCH"} else None
        return FakeCall(self.clock, method, headers=headers, body=body, upload=upload)

    async def ask(self, method: str = "GET", *headers: tuple[bytes, bytes]) -> FakeCall:
        return await self.proxy.handle(self.call(method, *headers))

    async def passes(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)


def staged(
    *steps: Step, setup: Setup | None = None, seconds: float = 0.1
) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[], None]]:
    """A test that gets a stage, and after which nothing may be left of anything."""

    def wrap(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
        async def run() -> None:
            stage = Stage(*steps, setup=setup, seconds=seconds)
            await test(stage)
            await stage.passes(0.0)
            stage.proxy.is_idle()

        def virtual() -> None:
            run_virtual(run())

        return virtual

    return wrap
