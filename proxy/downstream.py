"""The callers' side: listens, and lets every `Call` be handled.

Nothing but the handler decides an answer, except where there is no request to hand over: a malformed
head, one that does not arrive in time, and a handler that crashed are answered through `refuse`. The
request is never quoted.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from pathlib import Path

from proxy.caller import Caller
from proxy.clock import Clock
from proxy.core.strict import Own
from proxy.deadlines import Deadlines
from proxy.listener import Listener
from proxy.reception import Handler, Reception, Refuse

ONLY_PRIVATE = Own()


class Downstream:
    """Listens for callers. Timeouts are seconds.

    `head_timeout` bounds a head from its first byte on, `idle_timeout` a connection without a request,
    `body_timeout` the wait for each piece of a request body, `write_timeout` a caller that does not read.
    `crashed` is told where the handler failed: type and place of the exception, nothing else of it; `late`
    how many seconds late the event loop is, now and then while callers are connected.
    """

    def __init__(
        self,
        handle: Handler,
        refuse: Refuse,
        *,
        clock: Clock,
        crashed: Callable[[str], None],
        late: Callable[[float], None] = lambda _seconds: None,
        idle_timeout: float = 75.0,
        head_timeout: float = 20.0,
        body_timeout: float = 30.0,
        write_timeout: float = 300.0,
    ) -> None:
        self._reception = Reception(
            handle=handle,
            refuse=refuse,
            crashed=lambda error: crashed(_place(error)),
            clock=clock,
            deadlines=Deadlines(clock, late=late),
            idle_timeout=idle_timeout,
            head_timeout=head_timeout,
            body_timeout=body_timeout,
            write_timeout=write_timeout,
        )
        self._clock = clock
        self._listener: Listener | None = None

    async def start(self, host: str, port: int, own: Own = ONLY_PRIVATE) -> int:
        """Listen; return the port (the one given, or the one chosen for 0). `own` are public names that
        callers may use for the proxy.
        """
        reception = self._reception
        self._listener = Listener(
            lambda: Caller(reception),
            # A request whose caller has gone may still take a connection to Xero.
            lambda: len(reception.callers) + len(reception.left),
            self._clock,
        )
        bound = await self._listener.start(host, port)
        reception.own = Own(own.hosts | {host.lower().encode()}, own.domains)
        return bound

    def drain(self) -> None:
        """Stop listening, close idle connections, and let the others end with their answer."""
        self._reception.draining = True
        if self._listener is not None:
            self._listener.close()
        for caller in list(self._reception.callers):
            caller.close_if_idle()
        self._reception.check_empty()

    async def finished(self) -> None:
        """Wait, after `drain`, until the last caller has its answer and the last request has ended."""
        await self._reception.empty.wait()

    def stop_waiting(self) -> None:
        """Wait no longer for what callers have still to send; they are answered."""
        for caller in list(self._reception.callers):
            caller.stop_waiting()

    async def close(self) -> None:
        """Cut every connection that is left and cancel the handler of every request."""
        self.drain()
        for caller in list(self._reception.callers):
            caller.cut()
        tasks = list(self._reception.left)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {where}"
