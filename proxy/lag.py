"""How late the event loop is: what a timer waits beyond its time, every other caller waits too."""

from __future__ import annotations

from collections.abc import Callable

from proxy.clock import Clock, Timer

EVERY_SECONDS = 0.5


class Lag:
    """Tells `observe` twice a second how many seconds late the loop was, from `start` to `stop`."""

    def __init__(self, clock: Clock, observe: Callable[[float], None]) -> None:
        self._clock = clock
        self._observe = observe
        self._due = 0.0
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._due = self._clock.now() + EVERY_SECONDS
        self._timer = self._clock.call_at(self._due, self._look)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._observe(max(0.0, self._clock.now() - self._due))
        self.start()
