"""Values that are worth knowing for a short while: each until its time, and never more than so many."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """Values by key. Keys are hashes of what identifies them, never the secret itself."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[bytes, tuple[V, float]] = {}

    def __len__(self) -> int:
        """How many are held, those whose time has come and that nobody has dropped yet among them."""
        return len(self._values)

    def keep(self, key: bytes, value: V, until: float) -> None:
        """Remember `value` until `until`; of too many the one that was kept first is forgotten."""
        self._values.pop(key, None)
        self._values[key] = (value, until)
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]

    def get(self, key: bytes, now: float) -> V | None:
        """The value of `key`, None where there is none at `now`."""
        value, until = self._values.get(key, (None, now))
        return value if now < until else None

    def forget(self, now: float) -> None:
        """Drop what ends by `now`."""
        self._values = {key: kept for key, kept in self._values.items() if kept[1] > now}
